// Simplifies a mesh for `facedistill head`: JSON from standard input, the vertices of the triangles that are left to standard output.
import { text } from "node:stream/consumers";
import { MeshoptSimplifier } from "meshoptimizer";

const { triangles, points, attributes, weights, kept, nTriangles } = JSON.parse(await text(process.stdin));
await MeshoptSimplifier.ready;
const [left] = MeshoptSimplifier.simplifyWithAttributes(
  Uint32Array.from(triangles.flat()), Float32Array.from(points.flat()), 3, Float32Array.from(attributes.flat()), weights.length,
  weights, Uint8Array.from(kept), 3 * nTriangles, 1e9,
);
process.stdout.write(JSON.stringify([...left]));
