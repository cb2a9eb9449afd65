"""The front camera: colour, class, instance and distance of every pixel in one pass over MetaDrive's own scene.

Meshes, textures and the sun's direction are MetaDrive's; the shading is ours, one line of it: a texture's colour times
the light of sky and sun, with a soft shadow under each vehicle. Blocks of the map are drawn from three joined meshes
each. MetaDrive's own camera takes seconds a frame on a processor for a reason worth knowing: software rasterisers
filter anisotropic textures texel by texel, and its ground is one card of 20 km.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from labels import FAR, GROUND, LINE, NEAR, ROAD, SKY, STEPS, WALK
from panda3d.core import (
    BitMask32,
    Camera,
    FrameBufferProperties,
    GraphicsOutput,
    GraphicsPipe,
    NodePath,
    PerspectiveLens,
    PTALVecBase4f,
    RenderState,
    Shader,
    ShaderAttrib,
    Texture,
    UnalignedLVecBase4f,
    WindowProperties,
)

MASK = BitMask32.bit(20)
HEIGHT, WIDTH, TIMES = 64, 96, 2  # a frame's pixels, and samples a pixel each way
FOV = 60.0  # degrees, horizontally
PLACE, AIM = (0.0, 0.8, 1.5), (0.0, 2.4, 1.3)  # metres in the vehicle's frame: MetaDrive's camera
SHADOWS = 12  # vehicles near enough for one

VERTEX = """#version 330
in vec4 p3d_Vertex; in vec3 p3d_Normal; in vec2 p3d_MultiTexCoord0; in vec4 p3d_Color;
uniform mat4 p3d_ModelViewProjectionMatrix, p3d_ModelViewMatrix, p3d_ModelMatrix, p3d_ViewMatrix;
uniform mat3 p3d_NormalMatrix;
out vec2 uv, ground; out vec4 tint; out float dist, light;
void main() {
  gl_Position = p3d_ModelViewProjectionMatrix * p3d_Vertex;
  dist = -(p3d_ModelViewMatrix * p3d_Vertex).z;
  ground = (p3d_ModelMatrix * p3d_Vertex).xy;
  uv = p3d_MultiTexCoord0; tint = p3d_Color;
  vec3 sun = normalize((p3d_ViewMatrix * vec4(-0.53, 0.53, 0.64, 0.0)).xyz);
  light = 0.45 + 0.62 * max(dot(normalize(p3d_NormalMatrix * p3d_Normal), sun), 0.0);
}"""
FRAGMENT = f"""#version 330
in vec2 uv, ground; in vec4 tint; in float dist, light;
uniform sampler2D p3d_Texture0; uniform vec4 p3d_ColorScale; uniform vec4 about; uniform vec4 shade[{2 * SHADOWS}];
layout(location=0) out vec4 color; layout(location=1) out vec4 label;
void main() {{
  vec3 c = texture(p3d_Texture0, uv).rgb * tint.rgb * p3d_ColorScale.rgb * light * about.z;
  if (about.w > 0.5) {{
    for (int i = 0; i < {SHADOWS}; i++) {{
      vec4 box = shade[2 * i], axes = shade[2 * i + 1];
      vec2 d = ground - box.xy;
      vec2 q = abs(vec2(dot(d, axes.xy), dot(d, axes.zw))) - box.zw;
      float far = length(max(q, 0.0)) + min(max(q.x, q.y), 0.0);
      c *= mix(0.45, 1.0, smoothstep(-0.5, 0.35, far));
    }}
  }}
  if (about.x == {GROUND}.0) c = pow(c, vec3(1.0 / 2.2)); // its texture comes linear
  color = vec4(clamp(c, 0.0, 1.0), 1.0);
  float s = floor(clamp(log(dist / {NEAR}) / log({FAR} / {NEAR}), 0.0, 1.0) * {STEPS}.0 + 0.5);
  float high = floor(s / 256.0);
  label = vec4((about.x + 16.0 * high) / 255.0, (s - high * 256.0) / 255.0, about.y / 255.0, 1.0);
}}"""
SKY_VERTEX = """#version 330
in vec4 p3d_Vertex; uniform mat4 p3d_ModelViewProjectionMatrix; out vec3 toward;
void main() { toward = p3d_Vertex.xyz; gl_Position = p3d_ModelViewProjectionMatrix * p3d_Vertex; }"""
SKY_FRAGMENT = f"""#version 330
in vec3 toward; uniform sampler2D p3d_Texture0; layout(location=0) out vec4 color; layout(location=1) out vec4 label;
void main() {{
  vec3 d = normalize(toward);
  vec2 uv = vec2((atan(d.y, d.x) + 1.5707963) / 6.2831853, clamp(d.z * 0.72 + 0.35, 0.0, 1.0));
  color = vec4(pow(textureLod(p3d_Texture0, uv, 0.0).rgb, vec3(1.0 / 2.2)), 1.0);
  label = vec4({SKY + 16 * (STEPS // 256)}.0 / 255.0, {STEPS % 256}.0 / 255.0, 0.0, 1.0);
}}"""
PARTS = {ROAD: "lane_vis_node_path", LINE: "lane_line_node_path", WALK: "sidewalk_node_path"}
LINES = 2.1  # their texture is not marked as sRGB: MetaDrive draws it so much brighter
BEIGE = (1.25, 1.17, 1.04)  # of sidewalks, beside MetaDrive's own picture


@dataclass(frozen=True)
class View:
    """What the camera saw: frame uint8 (h, w, 3), classes and instances uint8 (h, w), depth uint16 (h, w) in steps."""

    frame: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    depth: np.ndarray


class Eye:
    """A camera of an engine's scene; `see` takes a picture from a vehicle."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.buffer = self._buffer()
        self.color, self.label = Texture("color"), Texture("label")
        self.buffer.addRenderTexture(self.color, GraphicsOutput.RTMCopyRam, GraphicsOutput.RTPColor)
        self.buffer.addRenderTexture(self.label, GraphicsOutput.RTMCopyRam, GraphicsOutput.RTPAuxRgba0)
        self.buffer.setClearActive(GraphicsOutput.RTPAuxRgba0, True)
        self.lens = PerspectiveLens()
        self.lens.setAspectRatio(WIDTH / HEIGHT)
        self.lens.setFov(FOV)
        self.lens.setNearFar(0.3, 5000)
        camera = Camera("eye", self.lens)
        camera.setCameraMask(MASK)
        shader = Shader.make(Shader.SL_GLSL, VERTEX, FRAGMENT)
        camera.setInitialState(RenderState.make(ShaderAttrib.make(shader, 100)))
        camera.setScene(engine.render)
        self.path = NodePath(camera)
        self.buffer.makeDisplayRegion().setCamera(self.path)
        self.buffer.setActive(False)
        self.shade = PTALVecBase4f.emptyArray(2 * SHADOWS)
        engine.render.setShaderInput("shade", self.shade)
        say(engine.render, GROUND, lit=True)
        self.sky = self._sky()
        self.drawn = NodePath("none")

    def draw(self, blocks: Iterable[Any]) -> None:
        """Joins the meshes of a map's blocks, which are drawn from now on in the place of theirs."""
        self.drawn.removeNode()
        self.drawn = self.engine.render.attachNewNode("drawn")
        for block in blocks:
            block.origin.hide(MASK)
            for kind, name in PARTS.items():
                joined = _joined(getattr(block, name), self.engine.render)
                joined.reparentTo(self.drawn)
                say(joined, kind, gain=LINES if kind == LINE else 1.0, lit=True)
                if kind == WALK:
                    joined.setColorScale(*BEIGE, 1.0)
        for texture in self.engine.render.findAllTextures():
            texture.setAnisotropicDegree(1)

    def see(self, vehicle: Any, others: Iterable[Any]) -> View:
        """A picture from a vehicle, which is not in it itself; others cast shadows."""
        self.path.reparentTo(vehicle.origin)
        self.path.setPos(*PLACE)
        self.path.lookAt(vehicle.origin, *AIM)
        x, y, z = self.path.getPos(self.engine.render)
        self.sky.setPos(x, y, z - 22.0)
        self._cast([vehicle, *others], (x, y))
        self.buffer.setActive(True)
        self.engine.graphicsEngine.renderFrame()
        self.buffer.setActive(False)
        return _view(_pixels(self.color), _pixels(self.label))

    def _cast(self, vehicles: list[Any], here: tuple[float, float]) -> None:
        places = np.array([tuple(v.origin.getPos(self.engine.render))[:2] for v in vehicles])  # (n, 2)
        near = np.argsort(((places - here) ** 2).sum(1))[:SHADOWS]
        for i in range(SHADOWS):
            box, axes = (1e6, 1e6, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0)
            if i < len(near):
                one = vehicles[near[i]]
                ahead = self.engine.render.getRelativeVector(one.origin, (0, 1, 0))
                box = (*places[near[i]], one.LENGTH / 2, one.WIDTH / 2)
                axes = (ahead[0], ahead[1], -ahead[1], ahead[0])
            self.shade[2 * i] = UnalignedLVecBase4f(*map(float, box))
            self.shade[2 * i + 1] = UnalignedLVecBase4f(*map(float, axes))

    def _buffer(self) -> Any:
        layout = FrameBufferProperties()
        layout.setRgbaBits(8, 8, 8, 8)
        layout.setAuxRgba(1)
        layout.setDepthBits(24)
        size = WindowProperties.size(WIDTH * TIMES, HEIGHT * TIMES)
        engine, flags = self.engine, GraphicsPipe.BFRefuseWindow
        beside = (engine.win.getGsg(), engine.win)
        made = engine.graphicsEngine.makeOutput(engine.pipe, "eye", -2, layout, size, flags, *beside)
        if made is None:
            raise RuntimeError("no OpenGL 3.3 to draw with; Debian: apt install libegl1 libegl-mesa0 libgl1-mesa-dri")
        return made

    def _sky(self) -> NodePath:
        old = self.engine.sky_box.origin
        sky = old.getChildren()[0].copyTo(self.engine.render)
        old.hide(MASK)
        sky.setShader(Shader.make(Shader.SL_GLSL, SKY_VERTEX, SKY_FRAGMENT), 200)
        sky.setScale(100)
        sky.setBin("background", 0)
        sky.setDepthWrite(False)
        sky.setDepthTest(False)
        sky.setTwoSided(True)
        return sky


def say(path: NodePath, kind: int, instance: int = 0, gain: float = 1.0, lit: bool = False) -> None:
    """Tells the shader what a node is: its class, its instance 0..255, its brightness, whether shadows fall on it."""
    path.setShaderInput("about", (float(kind), float(instance), gain, float(lit)))


def _joined(part: NodePath, render: NodePath) -> NodePath:
    whole = NodePath("joined")
    for old in part.findAllMatches("**/+GeomNode"):
        new = whole.attachNewNode(old.node().makeCopy())
        new.setTransform(old.getTransform(render))
        new.setState(old.getState(part))
    whole.flattenStrong()
    return whole


def _pixels(texture: Texture) -> np.ndarray:
    """A texture's pixels, RGB uint8 (h, w, 3), top row first."""
    rows = np.frombuffer(texture.getRamImage(), np.uint8).reshape(HEIGHT * TIMES, WIDTH * TIMES, 4)
    return rows[::-1, :, 2::-1]


def _view(color: np.ndarray, label: np.ndarray) -> View:
    """Samples as pixels: the mean colour, and of class, instance and distance those of the commonest kind there."""
    n = TIMES * TIMES
    blocks = lambda x: x.reshape(HEIGHT, TIMES, WIDTH, TIMES, 3).swapaxes(1, 2).reshape(HEIGHT, WIDTH, n, 3)  # noqa: E731
    frame = np.round(blocks(color).mean(2)).astype(np.uint8)
    parts = blocks(label).astype(np.int32)  # (h, w, n, 3)
    kind = (parts[..., 0] & 15) + 16 * parts[..., 2]  # (h, w, n)
    votes = (kind[..., None] == kind[..., None, :]).sum(-1)  # (h, w, n)
    pick = votes.argmax(-1)[..., None]  # (h, w, 1)
    take = lambda x: np.take_along_axis(x, pick, -1)[..., 0]  # noqa: E731
    steps = (parts[..., 0] >> 4) * 256 + parts[..., 1]
    classes, instances = take(parts[..., 0] & 15), take(parts[..., 2])
    return View(frame, classes.astype(np.uint8), instances.astype(np.uint8), take(steps).astype(np.uint16))
