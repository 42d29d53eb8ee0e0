/** Says who asks: pages and services get the name of the product, never that of a browser. */
export const USER_AGENT = "agent-runtime/0.1.0 (+https://github.com/agent-runtime/agent-runtime)";
