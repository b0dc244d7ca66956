// Where three.js has the vertices of faces: node three_faces.mjs jobs.json, a list of {face, poses: [{target: weight}], out}.
// Writes to `out` the float64 x, y, z of every vertex of the scene, pose by pose.
import { readFile, writeFile } from "node:fs/promises";
import { Mesh, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

function sumsOf(weights) {
  return Array.from({ length: weights.count }, (_, row) => [0, 1, 2, 3].reduce((sum, k) => sum + weights.getComponent(row, k), 0));
}

// three.js skins by the first set of joints alone, and makes its weights sum to 1: each set so, and their mean by those sums.
function prepare(mesh) {
  const { attributes, userData } = mesh.geometry;
  if (!mesh.isSkinnedMesh || userData.sets) return;
  const later = [];
  for (let number = 1; attributes[`joints_${number}`]; number++) {
    const weights = attributes[`weights_${number}`];
    later.push({ joints: attributes[`joints_${number}`], weights, shares: sumsOf(weights) });
  }
  const first = { joints: attributes.skinIndex, weights: attributes.skinWeight };
  first.shares = sumsOf(first.weights).map((_, row) => 1 - later.reduce((sum, { shares }) => sum + shares[row], 0));
  for (const { weights } of later) {
    attributes.skinWeight = weights;
    mesh.normalizeSkinWeights();
  }
  userData.sets = [first, ...later];
}

function vertexOf(mesh, vertex) {
  const moved = Mesh.prototype.getVertexPosition.call(mesh, vertex, new Vector3());
  if (!mesh.isSkinnedMesh) return mesh.localToWorld(moved);
  const sum = new Vector3();
  for (const { joints, weights, shares } of mesh.geometry.userData.sets) {
    mesh.geometry.attributes.skinIndex = joints;
    mesh.geometry.attributes.skinWeight = weights;
    sum.addScaledVector(mesh.applyBoneTransform(vertex, moved.clone()), shares[vertex]);
  }
  return mesh.localToWorld(sum);
}

for (const { face, poses, out } of JSON.parse(await readFile(process.argv[2], "utf8"))) {
  const bytes = await readFile(face);
  const { scene } = await new GLTFLoader().parseAsync(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), "");
  scene.updateMatrixWorld(true);
  const meshes = [];
  scene.traverse((part) => part.isMesh && meshes.push(part));
  meshes.forEach(prepare);
  const places = [];
  for (const pose of poses) {
    for (const mesh of meshes) {
      for (const [target, weight] of Object.entries(pose)) {
        const index = mesh.morphTargetDictionary?.[target];
        if (index !== undefined) mesh.morphTargetInfluences[index] = weight;
      }
      for (let vertex = 0; vertex < mesh.geometry.attributes.position.count; vertex++) {
        places.push(...vertexOf(mesh, vertex).toArray());
      }
    }
  }
  await writeFile(out, new Float64Array(places));
}
