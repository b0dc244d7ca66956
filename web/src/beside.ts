/** What lies beside the page, and the sentences that are shown when something is wrong. */

/** Something that the person before the page can do something about: `message` is a sentence that is shown as it is. */
export class Trouble extends Error {}

/** The sentence for anything that was thrown. */
export function sentenceOf(error: unknown): string {
  if (error instanceof Trouble) return error.message;
  return `Something went wrong: ${error instanceof Error ? error.message : String(error)}`;
}

/** A file of the page's own folder. */
export async function beside(path: string): Promise<Response> {
  const response = await fetch(path).catch(() => null);
  if (response?.ok) return response;
  const reason = response ? `the server said ${response.status}` : "the server did not answer";
  throw new Trouble(`${path} is not beside this page (${reason}): build the page with make web, and serve all of web/dist.`);
}
