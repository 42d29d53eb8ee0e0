import { definePlugin, z } from "agent-runtime";
import { webfetch } from "./webfetch.ts";

const options = z.strictObject({ allowPrivateHosts: z.array(z.string()).optional() });

export default definePlugin({
  name: "web",
  options,
  setup: ({ options: { allowPrivateHosts = [] } }) => ({ tools: [webfetch(allowPrivateHosts)] }),
});
