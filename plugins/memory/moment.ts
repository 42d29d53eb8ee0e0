const DAY_MS = 86_400_000;
const UNITS: Record<string, number> = { h: DAY_MS / 24, d: DAY_MS, w: 7 * DAY_MS, m: 30 * DAY_MS, y: 365 * DAY_MS };

/**
 * A time as people write it in a filter, in ms since 1970: a year, a month or a day (`2026`, `2026-05`, `2026-05-01`, UTC; of
 * `until` its last moment), a time in ISO 8601, ms since 1970, `today`, `yesterday`, or how long ago (`12h`, `7d`, `2w`, `3m`, `1y`).
 */
export function readMoment(text: string, edge: "since" | "until", now: number): number | undefined {
  const word = text.trim().toLowerCase();
  const [, count, unit = ""] = /^(\d{1,5})\s?([hdwmy])$/.exec(word) ?? [];
  if (count !== undefined) return now - Number(count) * (UNITS[unit] as number);
  if (/^\d{9,16}$/.test(word)) return Number(word);
  const near = { today: 0, yesterday: 1 }[word];
  const day = near === undefined ? word : new Date(now - near * DAY_MS).toISOString().slice(0, 10);
  const [, year, month, date] = /^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$/.exec(day) ?? [];
  if (year === undefined) return /^\d{4}-\d{2}-\d{2}[t ]/.test(word) ? numberOr(Date.parse(text.trim())) : undefined;
  const from = Date.UTC(Number(year), Number(month ?? 1) - 1, Number(date ?? 1));
  // The 31st of a month that has none would be the first of the next.
  if (!new Date(from).toISOString().startsWith(day)) return undefined;
  if (edge === "since") return from;
  const next = date === undefined ? Date.UTC(Number(year) + (month === undefined ? 1 : 0), month === undefined ? 0 : Number(month), 1) : from + DAY_MS;
  return next - 1;
}

const numberOr = (value: number): number | undefined => (Number.isNaN(value) ? undefined : value);
