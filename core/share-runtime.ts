import type Module from "node:module";

type Hook = (specifier: string, context: unknown, next: (specifier: string, context: unknown) => unknown) => unknown;
type Hooks = { resolve: Hook; load: Hook };

/** What the types of version 20 lack. */
type ModuleLoader = typeof Module & {
  _load(request: string, ...rest: unknown[]): unknown;
  registerHooks?(hooks: Hooks): void;
};

const NAME = "agent-runtime";
const URL = `${NAME}:self`;
const SELF = Symbol.for(URL);
let isShared = false;
let isHooked = false;

/**
 * Makes `agent-runtime` mean `self` in whatever Node itself loads from now on, though another copy may lie nearer: two
 * copies have two classes of each error. `natively`: an ES module is about to be loaded; before Node 22.15 that takes a
 * thread (40 ms), so it is not done without need.
 */
export function shareRuntime(self: Record<string, unknown>, { natively }: { natively: boolean }): void {
  const loader = process.getBuiltinModule("node:module") as ModuleLoader;
  (globalThis as Record<symbol, unknown>)[SELF] = self;
  const source = [
    `const self = globalThis[Symbol.for(${JSON.stringify(URL)})];`,
    ...Object.keys(self).map((name) => `export const ${name} = self.${name};`),
  ].join("\n");
  if (!isShared) shareWithCommonJs(loader, self);
  isShared = true;
  if (isHooked || !(natively || loader.registerHooks)) return;
  isHooked = true;
  if (loader.registerHooks) loader.registerHooks(makeHooks(NAME, URL, source));
  else loader.register(`data:text/javascript,${encodeURIComponent(describeHooks(source))}`);
}

function shareWithCommonJs(loader: ModuleLoader, self: unknown): void {
  const load = loader._load;
  loader._load = (request, ...rest) => (request === NAME ? self : load.call(loader, request, ...rest));
}

/** Stands alone: before Node 22.15 its text is run in another thread. */
function makeHooks(name: string, url: string, source: string): Hooks {
  return {
    resolve: (specifier, context, next) => (specifier === name ? { url, format: "module", shortCircuit: true } : next(specifier, context)),
    load: (address, context, next) => (address === url ? { format: "module", source, shortCircuit: true } : next(address, context)),
  };
}

const describeHooks = (source: string): string =>
  `export const { resolve, load } = (${makeHooks.toString()})(${[NAME, URL, source].map((text) => JSON.stringify(text)).join(", ")});`;
