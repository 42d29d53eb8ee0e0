import type { Mode } from "./mode.ts";

/** What a memory of work on software pays attention to. The names are those of claude-mem, so that its memories can be imported. */
export const codeMode: Mode = {
  name: "code",
  types: [
    { name: "discovery", when: "something about the code, a tool or the machine was found out" },
    { name: "bugfix", when: "a fault was found and mended" },
    { name: "feature", when: "something new works now" },
    { name: "refactor", when: "code was put in another shape and does the same as before" },
    { name: "change", when: "anything else was changed: settings, documents, dependencies, data" },
    { name: "decision", when: "one way was chosen over others, with its reason" },
    { name: "security_alert", when: "a weakness that can be used by an attacker was found" },
    { name: "security_note", when: "something about safety is worth knowing, and nothing is at risk now" },
    { name: "sensitive", when: "it concerns personal or confidential matters; name the subject, never the data" },
  ],
  concepts: [
    { name: "how-it-works", when: "explains a mechanism" },
    { name: "why-it-exists", when: "gives the reason or the history of something" },
    { name: "what-changed", when: "says what is different now" },
    { name: "problem-solution", when: "pairs a fault with its cure" },
    { name: "gotcha", when: "warns of a trap that looks harmless" },
    { name: "pattern", when: "shows a way of doing things that this code base follows" },
    { name: "trade-off", when: "weighs what was gained against what was given up" },
  ],
  prompts: {
    role: "You keep the notebook of a software project. You watch another agent at work and write down what will be useful months from now to somebody who was not there.",
    record: [
      "Record what was learned, built, mended or decided, and what turned out to be different from what one would expect.",
      "Name things: files, functions, flags, commands, versions, numbers, error messages. Prefer the result and its reason to the way that led there.",
      'Good: "parseDuration in src/time.ts takes minutes where the documentation says seconds". Poor: "Looked at the time parsing code and found some issues".',
    ].join("\n"),
    skip: [
      "Write nothing where there is nothing to learn: a listing, a file that was read without a finding, a check that passed as expected, an installation without surprises, or what you have noted already.",
      "An empty list is a good answer.",
    ].join("\n"),
    summary:
      "Sum up the whole turn: what was asked for, what was looked into, what is known now, what is finished, and what remains. Write of the work, not of the agent.",
    style: "",
  },
};
