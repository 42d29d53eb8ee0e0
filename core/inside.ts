import { sep } from "node:path";

/** Whether a path is that of the directory or of something below it. Both are absolute and without `..`; links are not followed. */
export const isInside = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(directory.endsWith(sep) ? directory : directory + sep);
