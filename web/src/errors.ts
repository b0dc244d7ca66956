/** An error that the user can solve. Its message is a sentence and is shown unchanged. */
export class UserError extends Error {}
