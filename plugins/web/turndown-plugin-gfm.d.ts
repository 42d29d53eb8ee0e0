declare module "@joplin/turndown-plugin-gfm" {
  import type Turndown from "turndown";
  export const highlightedCodeBlock: Turndown.Plugin;
  export const strikethrough: Turndown.Plugin;
  export const taskListItems: Turndown.Plugin;
}
