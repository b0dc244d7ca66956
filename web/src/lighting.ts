/** The lighting of the face: per pixel on a graphics card, per vertex with software rendering. */

import {
  AmbientLight, BufferAttribute, Color, DirectionalLight, Mesh, MeshBasicMaterial, MeshStandardMaterial, type Object3D, Vector3,
} from "three";

const AMBIENT = 0.75;
const LIGHTS: { color: string; intensity: number; from: [number, number, number] }[] = [
  { color: "#fff4e8", intensity: 2.4, from: [0.5, 0.7, 1.2] },
  { color: "#cfe0ff", intensity: 0.9, from: [-1, 0.1, 0.6] },
];

export function createLights(): Object3D[] {
  const directional = LIGHTS.map(({ color, intensity, from }) => {
    const light = new DirectionalLight(color, intensity);
    light.position.set(...from);
    return light;
  });
  return [...directional, new AmbientLight(0xffffff, AMBIENT)];
}

/** Replaces the materials of all meshes by ones that the same lights shade per vertex, without specular reflection. */
export function shadeVertices(scene: Object3D): void {
  scene.traverse((node) => {
    if (!(node instanceof Mesh) || !(node.material instanceof MeshStandardMaterial)) return;
    const { geometry } = node;
    if (!geometry.hasAttribute("normal")) geometry.computeVertexNormals();
    if (!geometry.hasAttribute("color")) {
      const white = new Float32Array(3 * geometry.getAttribute("position").count).fill(1);
      geometry.setAttribute("color", new BufferAttribute(white, 3));
    }
    const { color, map, side, alphaTest, transparent, opacity } = node.material;
    node.material = new MeshBasicMaterial({ color, map, vertexColors: true, side, alphaTest, transparent, opacity });
    node.material.onBeforeCompile = (shader: { vertexShader: string }) => {
      shader.vertexShader = shader.vertexShader.replace("#include <color_vertex>", (include) => `${include}\n${SHADER}`);
    };
  });
}

const vec3 = (values: Iterable<number>) => `vec3(${[...values].map((value) => value.toFixed(6))})`;
const diffuse = LIGHTS.map(({ color, intensity, from }) => {
  const direction = vec3(new Vector3(...from).normalize());
  return `${vec3(new Color(color).multiplyScalar(intensity))} * max(dot(worldNormal, ${direction}), 0.0)`;
});
const SHADER = `
  vec3 worldNormal = normalize(mat3(modelMatrix) * normal);
  vColor.rgb *= RECIPROCAL_PI * (${[AMBIENT.toFixed(6), ...diffuse].join(" + ")});
`;
