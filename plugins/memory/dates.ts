const DAY_MS = 86_400_000;
const MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const WEEKDAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const COUNTS = ["zero", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/** A time that a text names: from `from` up to, but not including, `to` (ms since 1970, UTC), or a month of any year. */
export interface NamedTime {
  /** Where it stands in the text. */
  start: number;
  end: number;
  from?: number;
  to?: number;
  /** 0 to 11, where no year is said. */
  month?: number;
}

const month = `(?<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\\.?`;
const day = "(?<day>[0-3]?\\d)(?:st|nd|rd|th)?";
const year = "(?<year>(?:19|20)\\d\\d)";
const unit = "(?<unit>day|week|weekend|month|year)s?";
const count = `(?<count>\\d{1,3}|an?|one|${COUNTS.slice(2).join("|")}|a couple of|a few)`;

/** The first that fits at a place wins. */
const PATTERNS = [
  `${year}-(?<monthNumber>[01]\\d)(?:-(?<day>[0-3]\\d))?`,
  `${day}(?:\\s+of)?\\s+${month}(?:,?\\s+${year})?`,
  `${month}\\s+${day}(?!\\d)(?:,?\\s+${year})?`,
  `${month},?\\s+${year}`,
  `(?:in|since|until|before|after|during|of|by|last|this|next)\\s+${month}`,
  `${count}\\s+${unit}\\s+ago`,
  `(?<which>last|this|next|past|previous|coming)\\s+(?:${unit}|(?<weekday>${WEEKDAYS.join("|")}|(?:sun|mon|tue|tues|wed|thu|thurs|fri|sat)))`,
  "(?<near>today|tonight|this\\s+(?:morning|afternoon|evening)|yesterday|last\\s+night|tomorrow)",
  `(?<=\\b(?:in|since|of|until|before|after|during|year|from|by)\\s)${year}`,
].map((source) => new RegExp(`\\b${source}\\b`, "giu"));

/** The times a text names. `at`: when it was said, for "yesterday" and the like; without it they are left out. */
export function findTimes(text: string, at?: number): NamedTime[] {
  const found: NamedTime[] = [];
  for (const pattern of PATTERNS)
    for (const match of text.matchAll(pattern)) {
      const place = { start: match.index, end: match.index + match[0].length };
      if (found.some(({ start, end }) => place.start < end && start < place.end)) continue;
      const time = readTime(match.groups ?? {}, at);
      if (time !== undefined) found.push({ ...place, ...time });
    }
  return found.sort((a, b) => a.start - b.start);
}

type Groups = Record<string, string | undefined>;
type Time = Pick<NamedTime, "from" | "to" | "month">;

function readTime(groups: Groups, at: number | undefined): Time | undefined {
  if (groups.month !== undefined || groups.monthNumber !== undefined) return readCalendar(groups, at);
  if (groups.year !== undefined) return { from: Date.UTC(Number(groups.year), 0), to: Date.UTC(Number(groups.year) + 1, 0) };
  if (at === undefined) return undefined;
  const today = Math.floor(at / DAY_MS) * DAY_MS;
  if (groups.near !== undefined) return dayAt(today + (/^(yesterday|last)/i.test(groups.near) ? -1 : /^tomorrow/i.test(groups.near) ? 1 : 0) * DAY_MS);
  if (groups.count !== undefined) return readAgo(groups.unit!.toLowerCase(), readCount(groups.count), today);
  const step = /^(last|past|previous)$/i.test(groups.which ?? "") ? -1 : /^this$/i.test(groups.which ?? "") ? 0 : 1;
  if (groups.weekday !== undefined) return readWeekday(groups.weekday.toLowerCase(), step, today);
  return readSpan(groups.unit!.toLowerCase(), step, today);
}

function readCalendar(groups: Groups, at: number | undefined): Time | undefined {
  const index =
    groups.monthNumber === undefined ? MONTHS.findIndex((name) => name.startsWith(groups.month!.slice(0, 3).toLowerCase())) : Number(groups.monthNumber) - 1;
  if (index < 0 || index > 11) return undefined;
  const number = groups.day === undefined ? undefined : Number(groups.day);
  if (number !== undefined && (number < 1 || number > 31)) return undefined;
  // "On 7 May" was said of the one before, as memories are.
  const named = groups.year === undefined ? undefined : Number(groups.year);
  if (named === undefined && at === undefined) return { month: index };
  if (named === undefined && number === undefined) return { month: index };
  const year = named ?? new Date(at!).getUTCFullYear() - (Date.UTC(new Date(at!).getUTCFullYear(), index, number) > at! + 31 * DAY_MS ? 1 : 0);
  if (number !== undefined) return dayAt(Date.UTC(year, index, number));
  return { from: Date.UTC(year, index), to: Date.UTC(year, index + 1) };
}

const dayAt = (from: number): Time => ({ from, to: from + DAY_MS });

function readCount(text: string): number {
  if (/^\d/.test(text)) return Number(text);
  const lower = text.toLowerCase();
  return lower === "a couple of" ? 2 : lower === "a few" ? 3 : Math.max(1, COUNTS.indexOf(lower));
}

/** "Three weeks ago" is not meant to the day. */
function readAgo(unit: string, count: number, today: number): Time {
  if (unit === "day") return dayAt(today - count * DAY_MS);
  if (unit.startsWith("week")) return { from: today - (7 * count + 3) * DAY_MS, to: today - (7 * count - 4) * DAY_MS };
  return readSpan(unit, -count, today);
}

/** A whole day of the week, week (from Monday), weekend, month or year, `step` of them from now. */
function readSpan(unit: string, step: number, today: number): Time {
  const date = new Date(today);
  const monday = today - ((date.getUTCDay() + 6) % 7) * DAY_MS + step * 7 * DAY_MS;
  if (unit === "day") return dayAt(today + step * DAY_MS);
  if (unit === "week") return { from: monday, to: monday + 7 * DAY_MS };
  if (unit === "weekend") return { from: monday + 5 * DAY_MS, to: monday + 7 * DAY_MS };
  const [year, index] = [date.getUTCFullYear(), date.getUTCMonth()];
  if (unit === "month") return { from: Date.UTC(year, index + step), to: Date.UTC(year, index + step + 1) };
  return { from: Date.UTC(year + step, 0), to: Date.UTC(year + step + 1, 0) };
}

function readWeekday(name: string, step: number, today: number): Time {
  const weekday = WEEKDAYS.findIndex((full) => full.startsWith(name.slice(0, 3)));
  const back = (new Date(today).getUTCDay() - weekday + 7) % 7;
  if (step < 0) return dayAt(today - (back === 0 ? 7 : back) * DAY_MS);
  return dayAt(today + ((7 - back) % 7) * DAY_MS);
}

const iso = (ms: number) => new Date(ms).toISOString();

/** What a time is found by: its days where they are a week at most, its months and years where they are a year at most. */
export function timeWords({ from, to, month }: Time): string[] {
  if (month !== undefined) return [MONTHS[month]!];
  if (from === undefined || to === undefined) return [];
  const words = new Set<string>();
  const days = Math.round((to - from) / DAY_MS);
  if (days <= 7) for (let day = 0; day < days; day++) words.add(iso(from + day * DAY_MS).slice(0, 10));
  if (days <= 31) for (const edge of [from, to - 1]) words.add(iso(edge).slice(0, 7));
  else words.add(iso(from).slice(0, 4));
  return [...words];
}

/** What a record of this time is found by: day, month and year in one, and by name. In UTC, and by the clock of this place where that is another day. */
export function dayWords(at: number): string[] {
  const words = new Set<string>();
  for (const ms of [at, at - new Date(at).getTimezoneOffset() * 60_000]) {
    const date = new Date(ms);
    const text = date.toISOString();
    for (const word of [text.slice(0, 10), text.slice(0, 7), text.slice(0, 4), MONTHS[date.getUTCMonth()]!, WEEKDAYS[date.getUTCDay()]!]) words.add(word);
  }
  return [...words];
}

/** The days of the week that a text names. */
export function findWeekdays(text: string): string[] {
  return WEEKDAYS.filter((name) => new RegExp(`\\b${name}s?\\b`, "i").test(text));
}
