// FaceFromSpeech.cs: moves the ARKit blend shapes of a face as an AudioSource or the microphone speaks. See README.md.
using System;
using Unity.InferenceEngine;
using UnityEngine;

public class FaceFromSpeech : MonoBehaviour
{
    // What the model's metadata says; Unity shows it to importers only.
    const int RateHz = 16000, WindowSamples = 8192;

    static readonly string[] Curves =
    {
        "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft",
        "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight",
        "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft",
        "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft",
        "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
        "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
        "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
        "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
    };

    [Tooltip("A window graph in float32, tiny-real-time-window.onnx say")] public ModelAsset model;
    [Tooltip("past_samples of its metadata: 7168 of tiny-real-time, 4096 of on-device")] public int pastSamples = 7168;
    [Tooltip("All that bear such blend shapes: face, teeth, tongue")] public SkinnedMeshRenderer[] faces;
    [Tooltip("What stands before the names of its blend shapes")] public string prefix = "";
    [Tooltip("What plays the voice; none for the microphone")] public AudioSource voice;
    [Tooltip("The same voice in one channel at 16 kHz; none if the AudioSource's clip is that")] public AudioClip monoClip;
    [Range(0, 2)] public float gain = 1;
    [Tooltip("Time constant; 0 for none")] [Range(0, 0.2f)] public float smoothingSeconds = 0.02f;
    [Tooltip("Of a blend shape that is all there: 100 in meshes from FBX")] public float fullWeight = 100;

    readonly float[] window = new float[WindowSamples];
    readonly float[] weights = new float[Curves.Length];
    float[] recording; // the voice, with a window of silence around it
    AudioClip microphone; // a ring of one second
    Worker worker;
    Tensor<float> input;

    void OnEnable()
    {
        if (voice == null) microphone = Microphone.Start(null, true, 1, RateHz);
        AudioClip clip = voice == null ? microphone : monoClip != null ? monoClip : voice.clip;
        if (clip == null || clip.channels != 1 || clip.frequency != RateHz)
        {
            Debug.LogError($"FaceFromSpeech: expected sound in one channel at {RateHz} Hz", this);
            enabled = false;
            return;
        }
        if (voice != null)
        {
            var samples = new float[clip.samples];
            clip.GetData(samples, 0);
            recording = new float[pastSamples + samples.Length + WindowSamples];
            samples.CopyTo(recording, pastSamples);
        }
        worker = new Worker(ModelLoader.Load(model), BackendType.CPU);
        input = new Tensor<float>(new TensorShape(1, WindowSamples));
    }

    void OnDisable()
    {
        if (microphone != null) Microphone.End(null);
        worker?.Dispose();
        input?.Dispose();
        (microphone, worker, input) = (null, null, null);
    }

    void LateUpdate()
    {
        Listen();
        input.Upload(window);
        worker.Schedule(input);
        float[] curves = ((Tensor<float>)worker.PeekOutput()).DownloadToArray();
        float kept = smoothingSeconds > 0 ? Mathf.Exp(-Time.deltaTime / smoothingSeconds) : 0;
        for (int k = 0; k < Curves.Length; k++)
            weights[k] = Mathf.Lerp(Mathf.Clamp01(gain * curves[k]), weights[k], kept);
        foreach (SkinnedMeshRenderer face in faces)
            for (int k = 0; k < Curves.Length; k++)
            {
                int shape = face.sharedMesh.GetBlendShapeIndex(prefix + Curves[k]);
                if (shape >= 0) face.SetBlendShapeWeight(shape, fullWeight * weights[k]);
            }
    }

    // Fills the window. A recording is known ahead, so its window stands around the sample that plays; that of the microphone
    // ends with the newest sample, and the face follows by the model's look-ahead.
    void Listen()
    {
        if (voice == null)
        {
            int first = Microphone.GetPosition(null) - WindowSamples;
            microphone.GetData(window, (first + microphone.samples) % microphone.samples);
        }
        else if (voice.isPlaying)
        {
            long playing = (long)voice.timeSamples * RateHz / voice.clip.frequency;
            Array.Copy(recording, Math.Min(playing, recording.Length - WindowSamples), window, 0, WindowSamples);
        }
        else
        {
            Array.Clear(window, 0, WindowSamples);
        }
    }
}
