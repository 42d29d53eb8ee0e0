import type { ShellWord } from "./shell-word.ts";
import { ANYTHING, type Context, valuesOfWord } from "./values.ts";

const MACHINE_PROGRAMS = new Set(
  "sudo doas su pkexec runuser chroot nsenter mount umount shutdown reboot poweroff halt systemctl service crontab at batch useradd usermod passwd pkill killall killall5 skill snice".split(
    " ",
  ),
);
/** Options with which ordinary programs work on the user's account instead of the workspace. */
const MACHINE_OPTIONS = new Map([
  ["git", /^--(global|system)$/],
  ["npm", /^(-g|--global)$/],
  ["pnpm", /^(-g|--global)$/],
  ["yarn", /^global$/],
  ["fuser", /^-[a-z]*k|^--kill$/],
]);

/** Why a program acts on more than the workspace, or undefined. */
export function findMachineReach(program: string, words: ShellWord[]): string | undefined {
  if (MACHINE_PROGRAMS.has(program)) return `${program} acts on the machine, not on the workspace`;
  const option = words.find(({ value }) => MACHINE_OPTIONS.get(program)?.test(value));
  return option && `${program} ${option.value} reaches beyond the workspace`;
}

/** What `kill` may end: jobs of this shell, processes that it started, itself. An empty word is none. */
const OWN_PROCESS = /^(%.*|-?\$[!$]|0|)$/;

/** Why `kill` reaches beyond its own processes, or undefined. */
export function findSignalReach(words: readonly ShellWord[], context: Context): string | undefined {
  const option = words[0]?.value ?? "";
  if (/^-(l|L|-list|0)/.test(option)) return undefined;
  const options = /^-(s|n|-signal)$/.test(option) ? 2 : /^-\w/.test(option) ? 1 : 0;
  const targets = words.slice(options).filter(({ value }) => value !== "--");
  const values = targets.flatMap((word) => valuesOfWord(word, context) ?? [ANYTHING]);
  if (values.length > 0 && values.every((value) => value.split(/\s+/).every((piece) => OWN_PROCESS.test(piece)))) return undefined;
  return `kill ${words.map(({ text }) => text).join(" ")} reaches beyond this command: it may end only its own processes ($!, $$, %1, $(jobs -p))`;
}
