/** The light on the face: for a graphics card at every pixel, and at every vertex where the processor draws. */

import {
  AmbientLight, BufferAttribute, Color, DirectionalLight, Mesh, MeshBasicMaterial, MeshStandardMaterial, type Object3D, Vector3,
} from "three";

const AMBIENT = 0.75;
const LAMPS: { color: string; intensity: number; from: [number, number, number] }[] = [
  { color: "#fff4e8", intensity: 2.4, from: [0.5, 0.7, 1.2] },
  { color: "#cfe0ff", intensity: 0.9, from: [-1, 0.1, 0.6] },
];

/** What lights a scene. */
export function lamps(): Object3D[] {
  const directed = LAMPS.map(({ color, intensity, from }) => {
    const lamp = new DirectionalLight(color, intensity);
    lamp.position.set(...from);
    return lamp;
  });
  return [...directed, new AmbientLight(0xffffff, AMBIENT)];
}

/** Gives all meshes a material that is lit by the same lamps, without shine and at the vertices alone. */
export function lightVertices(scene: Object3D): void {
  scene.traverse((node) => {
    if (!(node instanceof Mesh) || !(node.material instanceof MeshStandardMaterial)) return;
    const { geometry } = node;
    if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
    if (!geometry.hasAttribute("color")) geometry.setAttribute("color", white(geometry.getAttribute("position").count));
    const { color, map, side, alphaTest, transparent, opacity } = node.material;
    node.material = new MeshBasicMaterial({ color, map, vertexColors: true, side, alphaTest, transparent, opacity });
    node.material.onBeforeCompile = (shader: { vertexShader: string }) => {
      shader.vertexShader = shader.vertexShader.replace("#include <color_vertex>", (colored) => `${colored}\n${SHADE}`);
    };
  });
}

function white(count: number): BufferAttribute {
  return new BufferAttribute(new Float32Array(3 * count).fill(1), 3);
}

const vec3 = (values: Iterable<number>) => `vec3(${[...values].map((value) => value.toFixed(6))})`;
const terms = LAMPS.map(({ color, intensity, from }) => {
  const towards = vec3(new Vector3(...from).normalize());
  return `${vec3(new Color(color).multiplyScalar(intensity))} * max(dot(facing, ${towards}), 0.0)`;
});
const SHADE = `
  vec3 facing = normalize(mat3(modelMatrix) * normal);
  vColor.rgb *= RECIPROCAL_PI * (${[AMBIENT.toFixed(6), ...terms].join(" + ")});
`;
