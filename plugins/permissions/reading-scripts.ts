/** Scripts of awk and sed that only read and print. */

/** Whatever could run, write or read elsewhere: looked for in the whole text, strings and patterns included, since what is one is hard to tell. */
const AWK_ACTS = /system|getline|ARGV|@|(?<!\|)\|(?!\|)|print[\s\S]*>|\\\n/;

/** The words of awk: options that set a separator or a variable, one script, files. */
export function isReadOnlyAwk(values: string[]): boolean {
  let at = 0;
  while (/^-[Fv]/.test(values[at] ?? "")) at += values[at]!.length === 2 ? 2 : 1;
  const [script, ...files] = values.slice(at);
  return script !== undefined && !/^(-|\.\/)/.test(script) && !AWK_ACTS.test(script) && files.every((value) => !value.startsWith("-"));
}

/** Between slashes. A bracket holds no slash, no backslash and no bracket but a class: seds differ in what those mean. */
const REGEX = String.raw`/(?:\\[^\n]|\[\^?\]?(?:\[:\w+:\]|[^\]\[/\\\n])*\]|[^\[\\/\n])*/`;
const ADDRESS = String.raw`(?:\d+(?:~\d+)?|\$|${REGEX}I?)`;
/** s and y with a delimiter: flags w and e are not among those that may follow. */
const substitute = (mark: string) => String.raw`[sy]${mark}(?:\\[^\n]|[^\[\\${mark}\n])*${mark}(?:\\[^\n]|[^\\${mark}\n])*${mark}[gpiIM\d]*`;
const COMMANDS = [String.raw`[sy]${REGEX}(?:\\[^\n]|[^\\/\n])*/[gpiIM\d]*`, ...["\\|", "#", ",", ":", "!", "@"].map(substitute), "[pdDPnNgGhHxl=qQz{]"];
const COMMAND = new RegExp(String.raw`(?:${ADDRESS}(?:,(?:${ADDRESS}|[+~]\d+))?)?[ \t]*!?[ \t]*(?:${COMMANDS.join("|")})`, "y");
const BETWEEN = /[\s;}]*/y;

/** Whether it is made of commands that only print or change what is printed. */
function isPrinting(script: string): boolean {
  for (let at = 0; at < script.length; ) {
    const start = at;
    for (const pattern of [BETWEEN, COMMAND]) {
      pattern.lastIndex = at;
      if (at < script.length && pattern.test(script)) at = pattern.lastIndex;
    }
    if (at === start) return false;
  }
  return script !== "";
}

const isScriptOption = (value: string | undefined): boolean => value !== undefined && /^-[nErsz]*e$|^--expression$/.test(value);

/** The words of sed: only options that change how it prints, and scripts that print. */
export function isReadOnlySed(values: string[]): boolean {
  const scripts = values.filter((_, index) => isScriptOption(values[index - 1]));
  const others = values.filter((value, index) => !isScriptOption(values[index - 1]) && !isScriptOption(value));
  if (scripts.length === 0) scripts.push(others.find((value) => !value.startsWith("-")) ?? "");
  return others.every((value) => /^(-[nErszu]+|--(quiet|silent|regexp-extended|separate)|[^-].*)$/s.test(value)) && scripts.every(isPrinting);
}
