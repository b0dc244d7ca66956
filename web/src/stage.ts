/** Where the face is seen: light, a camera that can be dragged around it, and a new picture only when there is something new. */

import { Box3, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { Trouble } from "./beside";
import type { Face } from "./face";
import { Fineness } from "./fineness";
import { lamps, lightVertices } from "./light";

const NO_3D = "This browser shows no 3D (WebGL is off): curves and downloads work, the face cannot be seen.";
const FINEST = 2; // pixels of the picture a pixel of the page
const LIGHT_PIXELS = 80_000; // of the picture at first, where the processor has to draw it

export class Stage {
  /** Whether the processor draws: the picture is smaller then, its background plain and its light simple. */
  readonly light: boolean;
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(24, 1, 0.01, 100);
  private readonly controls: OrbitControls;
  private face: Face | null = null;
  private fineness = new Fineness(FINEST);
  private stale = true;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.light = drawnByProcessor();
    const context = canvas.getContext("webgl2", { antialias: !this.light, alpha: !this.light });
    if (!context) throw new Trouble(NO_3D);
    canvas.classList.toggle("light", this.light);
    this.renderer = new WebGLRenderer({ canvas, context });
    if (this.light) this.renderer.setClearColor(getComputedStyle(canvas).backgroundColor);
    else this.renderer.setClearAlpha(0);
    if (!this.light) this.scene.add(...lamps());
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => (this.stale = true));
    canvas.style.touchAction = "pan-y"; // a finger turns the head sideways and scrolls the page up and down
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Puts a face in the place of the one before. */
  put(face: Face): void {
    if (this.face) this.scene.remove(this.face.scene);
    this.face?.dispose();
    this.face = face;
    if (this.light) lightVertices(face.scene);
    this.scene.add(face.scene);
    const box = new Box3().setFromObject(face.scene);
    const size = box.getSize(new Vector3());
    const centre = box.getCenter(new Vector3());
    this.controls.target.set(centre.x, centre.y + 0.04 * size.y, centre.z);
    const distance = 2.6 * size.y;
    this.camera.position.copy(this.controls.target).setZ(centre.z + distance);
    this.controls.minDistance = distance / 4;
    this.controls.maxDistance = distance * 2;
    this.controls.update();
    this.resize();
  }

  /** Draws the picture, if the face has moved or the view has changed. */
  draw(moved: boolean, nowMs: number): void {
    if (!moved && !this.stale) return;
    if (this.fineness.drawn(nowMs)) this.fit();
    this.stale = false;
    this.renderer.render(this.scene, this.camera);
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const finest = this.light ? Math.sqrt(LIGHT_PIXELS / (clientWidth * clientHeight)) : FINEST;
    this.fineness = new Fineness(Math.min(devicePixelRatio, finest));
    this.fit();
  }

  private fit(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    this.renderer.setPixelRatio(this.fineness.ratio);
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
    this.stale = true;
  }
}

/** Whether there is no graphics card behind WebGL; browsers say so only in the name. */
function drawnByProcessor(): boolean {
  const context = new OffscreenCanvas(1, 1).getContext("webgl2");
  const names = context?.getExtension("WEBGL_debug_renderer_info");
  const name = context && names ? String(context.getParameter(names.UNMASKED_RENDERER_WEBGL)) : "";
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}
