/** Files that are served with the web demo. */

import { UserError } from "./errors";

/** Fetches a file from the folder of the web demo. */
export async function fetchAsset(path: string): Promise<Response> {
  const response = await fetch(path).catch(() => null);
  if (response?.ok) return response;
  const reason = response ? `HTTP ${response.status}` : "no answer from the server";
  throw new UserError(`${path} cannot be loaded (${reason}): build the web demo with make web and serve all of web/dist.`);
}
