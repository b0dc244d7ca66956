/** Names of curves and morph targets in any spelling; see `canonical` in `facedistill.formats.animation`. */

/** Maps `jawOpen`, `JawOpen`, `jaw_open` and `blendShapes.jawOpen` to one name, also `eyeBlink_L` and `eyeBlinkLeft`. */
export function canonicalName(name: string): string {
  const bare = name.trim().toLowerCase().split(".").pop()!;
  return bare.replace(/_l$/, "left").replace(/_r$/, "right").replaceAll("_", "");
}
