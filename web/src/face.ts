/** Faces: any GLB whose meshes have morph targets with ARKit names. */

import { Box3, BufferAttribute, type BufferGeometry, Mesh, type Object3D, Texture, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { UserError } from "./errors";
import { canonicalName } from "./names";

const MIN_MOVE_RATIO = 0.01; // of the size of the scene
const VRM = /^VRM/; // extensions that describe the use of an avatar; its meshes are ordinary

/** The nonzero deltas of a morph target, for positions or normals. */
interface MorphTarget {
  name: string; // canonical
  restWeight: number; // used if no curve drives it
  indices: Uint32Array;
  deltas: Float32Array;
}

/** The positions or normals of a mesh: x, y and z of each vertex. */
interface MorphedAttribute {
  mesh: Mesh;
  kind: "position" | "normal";
  attribute: BufferAttribute;
  rest: Float32Array;
  targets: MorphTarget[];
}

export class Face {
  private constructor(
    readonly scene: Object3D,
    private readonly attributes: MorphedAttribute[],
  ) {}

  static async read(name: string, bytes: ArrayBuffer): Promise<Face> {
    const gltf = await new GLTFLoader().parseAsync(bytes, "").catch(() => {
      throw new UserError(`${name} cannot be read; expected a GLB file without compressed meshes.`);
    });
    const { json, extensions, plugins } = gltf.parser;
    const required: string[] = json.extensionsRequired ?? [];
    const unknown = required.find((extension) => !(extension in extensions || extension in plugins || VRM.test(extension)));
    if (unknown) throw new UserError(`${name} requires the extension ${unknown}, which is not supported: export it without.`);
    const attributes: MorphedAttribute[] = [];
    gltf.scene.traverse((node) => {
      if (!(node instanceof Mesh)) return;
      node.frustumCulled = false;
      attributes.push(...extractMorphTargets(node));
    });
    if (!attributes.some(({ targets }) => targets.some((target) => target.name === "jawopen"))) {
      throw new UserError(`${name} has no morph target jawOpen; expected ARKit names.`);
    }
    return new Face(gltf.scene, attributes);
  }

  /** Applies the weights of curves. Curves without a morph target are ignored. */
  setWeights(curves: readonly string[], weights: ArrayLike<number>): void {
    const byName = new Map(curves.map((name, k) => [canonicalName(name), weights[k]]));
    for (const { attribute, rest, targets } of this.attributes) {
      const values = attribute.array;
      values.set(rest);
      for (const { name, restWeight, indices, deltas } of targets) {
        const weight = byName.get(name) ?? restWeight;
        if (weight === 0) continue;
        for (let i = 0; i < indices.length; i++) values[indices[i]] += weight * deltas[i];
      }
      attribute.needsUpdate = true;
    }
  }

  /** Returns the box of all vertices that a morph target moves clearly: the face, of a head with neck and hair or a whole body. */
  expressiveBox(): Box3 {
    const clear = MIN_MOVE_RATIO * new Box3().setFromObject(this.scene).getSize(new Vector3()).length();
    const box = new Box3();
    for (const { mesh, kind, rest, targets } of this.attributes) {
      if (kind !== "position") continue;
      const scale = mesh.getWorldScale(new Vector3()).x;
      for (const { indices, deltas } of targets) {
        indices.forEach((index, i) => {
          if (Math.abs(deltas[i]) * scale < clear) return;
          const start = index - (index % 3);
          box.expandByPoint(mesh.localToWorld(new Vector3().fromArray(rest, start)));
        });
      }
    }
    return box;
  }

  /** Frees the face's GPU memory. */
  dispose(): void {
    this.scene.traverse((node) => {
      if (!(node instanceof Mesh)) return;
      node.geometry.dispose();
      for (const material of [node.material].flat()) {
        for (const value of Object.values(material)) if (value instanceof Texture) value.dispose();
        material.dispose();
      }
    });
  }
}

/**
 * Takes the morph targets out of a mesh. They are applied here and not by three, whose shader reads every target for each vertex:
 * targets are sparse, so this takes a fraction of a millisecond, and software rendering is much faster.
 */
function extractMorphTargets(mesh: Mesh): MorphedAttribute[] {
  const names = Object.entries(mesh.morphTargetDictionary ?? {});
  const restWeights = mesh.morphTargetInfluences ?? [];
  const geometry: BufferGeometry = mesh.geometry;
  const attributes = (["position", "normal"] as const).flatMap((kind) => {
    const morphs = geometry.morphAttributes[kind];
    if (!morphs || !geometry.hasAttribute(kind)) return [];
    const rest = toFloats(geometry.getAttribute(kind) as BufferAttribute);
    const attribute = new BufferAttribute(rest.slice(), 3);
    geometry.setAttribute(kind, attribute);
    const targets = names.map(([name, index]) => sparseTarget(name, restWeights[index], morphs[index] as BufferAttribute));
    return [{ mesh, kind, attribute, rest, targets }];
  });
  geometry.morphAttributes = {};
  mesh.updateMorphTargets();
  return attributes;
}

function sparseTarget(name: string, restWeight: number, attribute: BufferAttribute): MorphTarget {
  const dense = toFloats(attribute);
  const indices = Uint32Array.from(dense.keys()).filter((index) => dense[index] !== 0);
  return { name: canonicalName(name), restWeight, indices, deltas: Float32Array.from(indices, (index) => dense[index]) };
}

/** Reads an attribute (V, 3) of any component type. */
function toFloats(attribute: BufferAttribute): Float32Array {
  const length = 3 * attribute.count;
  return Float32Array.from({ length }, (_, index) => attribute.getComponent(Math.floor(index / 3), index % 3));
}
