/** Names of shapes, whatever their spelling; see `canonical` in `facedistill.formats.animation`. */

/** The same text for `jawOpen`, `JawOpen`, `jaw_open` and `blendShapes.jawOpen`, and for `eyeBlink_L` and `eyeBlinkLeft`. */
export function lettersOf(name: string): string {
  const bare = name.trim().toLowerCase().split(".").pop()!;
  return bare.replace(/_l$/, "left").replace(/_r$/, "right").replaceAll("_", "");
}
