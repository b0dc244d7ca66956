/** The 3D view of the face. It renders only when something has changed. */

import { PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { AdaptiveResolution } from "./adaptiveResolution";
import { UserError } from "./errors";
import type { Face } from "./face";
import { createLights, shadeVertices } from "./lighting";

const MAX_PIXEL_RATIO = 2;
const SOFTWARE_PIXELS = 80_000; // at first, with software rendering
const DISTANCE = 3.5; // of the camera, in heights of what moves in the face
const ABOVE = 0.17; // how far its middle is raised: foreheads hardly move

export class Stage {
  /** Whether WebGL renders in software: then the picture is smaller and its background and shading are simpler. */
  readonly isSoftware = usesSoftwareRendering();
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(24, 1, 0.01, 100);
  private readonly controls: OrbitControls;
  private face: Face | null = null;
  private resolution = new AdaptiveResolution(MAX_PIXEL_RATIO);
  private needsRender = true;

  constructor(private readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext("webgl2", { antialias: !this.isSoftware, alpha: !this.isSoftware });
    if (!context) throw new UserError("WebGL is not available: curves and downloads work, but the face cannot be shown.");
    canvas.classList.toggle("light", this.isSoftware);
    this.renderer = new WebGLRenderer({ canvas, context });
    if (this.isSoftware) {
      this.renderer.setClearColor(getComputedStyle(canvas).backgroundColor);
    } else {
      this.renderer.setClearAlpha(0);
      this.scene.add(...createLights());
    }
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.addEventListener("change", () => (this.needsRender = true));
    canvas.style.touchAction = "pan-y"; // a finger turns the head sideways and scrolls the page vertically
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Replaces the face. */
  setFace(face: Face): void {
    if (this.face) this.scene.remove(this.face.scene);
    this.face?.dispose();
    this.face = face;
    if (this.isSoftware) shadeVertices(face.scene);
    this.scene.add(face.scene);
    const box = face.expressiveBox();
    const size = box.getSize(new Vector3());
    const centre = box.getCenter(new Vector3());
    this.controls.target.set(centre.x, centre.y + ABOVE * size.y, centre.z);
    const distance = DISTANCE * size.y;
    this.camera.position.copy(this.controls.target).setZ(centre.z + distance);
    this.controls.minDistance = distance / 4;
    this.controls.maxDistance = distance * 2;
    this.controls.update();
    this.resize();
  }

  /** Renders the picture if the face has moved or the view has changed. */
  render(hasMoved: boolean, nowMs: number): void {
    if (!hasMoved && !this.needsRender) return;
    if (this.resolution.countFrame(nowMs)) this.updateSize();
    this.needsRender = false;
    this.renderer.render(this.scene, this.camera);
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const maxRatio = this.isSoftware ? Math.sqrt(SOFTWARE_PIXELS / (clientWidth * clientHeight)) : MAX_PIXEL_RATIO;
    this.resolution = new AdaptiveResolution(Math.min(devicePixelRatio, maxRatio));
    this.updateSize();
  }

  private updateSize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    this.renderer.setPixelRatio(this.resolution.pixelRatio);
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
    this.needsRender = true;
  }
}

/** Returns whether WebGL renders in software, which only the name of the renderer shows. */
function usesSoftwareRendering(): boolean {
  const context = new OffscreenCanvas(1, 1).getContext("webgl2");
  const info = context?.getExtension("WEBGL_debug_renderer_info");
  const name = context && info ? String(context.getParameter(info.UNMASKED_RENDERER_WEBGL)) : "";
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}
