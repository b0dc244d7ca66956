/** A face: any GLB whose meshes have morph targets with ARKit's names. */

import { BufferAttribute, type BufferGeometry, Mesh, type Object3D, Texture } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { Trouble } from "./beside";
import { lettersOf } from "./names";

const VRM = /^VRM/; // extensions that say how an avatar is used: its meshes are drawn as any

/** What one shape moves of the positions or the normals of a mesh: the numbers that are not 0. */
interface Move {
  letters: string;
  restWeight: number; // where no curve moves it
  places: Uint32Array;
  deltas: Float32Array;
}

/** Positions or normals: x, y and z of each vertex. */
interface Part {
  now: BufferAttribute;
  rest: Float32Array;
  moves: Move[];
}

export class Face {
  private constructor(
    readonly scene: Object3D,
    private readonly parts: Part[],
  ) {}

  static async read(name: string, bytes: ArrayBuffer): Promise<Face> {
    const gltf = await new GLTFLoader().parseAsync(bytes, "").catch(() => {
      throw new Trouble(`${name} is not a GLB file that this page can read; compressed meshes are not.`);
    });
    const { json, extensions, plugins } = gltf.parser;
    const required: string[] = json.extensionsRequired ?? [];
    const unknown = required.find((extension) => !(extension in extensions || extension in plugins || VRM.test(extension)));
    if (unknown) throw new Trouble(`${name} needs the extension ${unknown}, which this page does not know: export it without.`);
    const parts: Part[] = [];
    gltf.scene.traverse((node) => {
      if (!(node instanceof Mesh)) return;
      node.frustumCulled = false;
      parts.push(...partsOf(node));
    });
    if (!parts.some((part) => part.moves.some((move) => move.letters === "jawopen"))) {
      throw new Trouble(`${name} has no morph target named jawOpen: the names of ARKit are needed.`);
    }
    return new Face(gltf.scene, parts);
  }

  /** Moves the face; curves that it has no shape for are left out. */
  show(curves: readonly string[], weights: ArrayLike<number>): void {
    const byLetters = new Map(curves.map((name, k) => [lettersOf(name), weights[k]]));
    for (const { now, rest, moves } of this.parts) {
      const values = now.array;
      values.set(rest);
      for (const { letters, restWeight, places, deltas } of moves) {
        const weight = byLetters.get(letters) ?? restWeight;
        if (weight === 0) continue;
        for (let index = 0; index < places.length; index++) values[places[index]] += weight * deltas[index];
      }
      now.needsUpdate = true;
    }
  }

  /** Frees what the graphics card holds of the face. */
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
 * What moves in a mesh. It is moved here and not by three, whose shader looks at every shape for every vertex: shapes are sparse,
 * so this takes a fraction of a millisecond, and a machine without a graphics card draws much faster.
 */
function partsOf(mesh: Mesh): Part[] {
  const names = Object.entries(mesh.morphTargetDictionary ?? {});
  const restWeights = mesh.morphTargetInfluences ?? [];
  const geometry: BufferGeometry = mesh.geometry;
  const parts = (["position", "normal"] as const).flatMap((kind) => {
    const targets = geometry.morphAttributes[kind];
    if (!targets || !geometry.hasAttribute(kind)) return [];
    const rest = numbersOf(geometry.getAttribute(kind) as BufferAttribute);
    const now = new BufferAttribute(rest.slice(), 3);
    geometry.setAttribute(kind, now);
    const moves = names.map(([name, index]) => moveOf(name, restWeights[index], numbersOf(targets[index] as BufferAttribute)));
    return [{ now, rest, moves }];
  });
  geometry.morphAttributes = {};
  mesh.updateMorphTargets();
  return parts;
}

function moveOf(name: string, restWeight: number, dense: Float32Array): Move {
  const places = Uint32Array.from(dense.keys()).filter((place) => dense[place] !== 0);
  return { letters: lettersOf(name), restWeight, places, deltas: Float32Array.from(places, (place) => dense[place]) };
}

/** (V, 3) as floats, however the file stores them. */
function numbersOf(attribute: BufferAttribute): Float32Array {
  const length = 3 * attribute.count;
  return Float32Array.from({ length }, (_, place) => attribute.getComponent(Math.floor(place / 3), place % 3));
}
