// animate.cpp: a recording in, 60 frames of ARKit curves a second out, through the window graph of a model. See README.md.
#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int64_t FPS = 60;

[[noreturn]] void refuse(const std::string& path, const std::string& why) { throw std::runtime_error(path + ": " + why); }

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) refuse(path, "cannot be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

template <class Number>
Number number(const std::string& bytes, size_t at) {  // little-endian, as WAV files and most processors are; 0 past the end
    Number value{};
    if (at + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

std::vector<float> read_wav(const std::string& path, int64_t rate_hz) {
    const std::string bytes = read_file(path);
    if (bytes.rfind("RIFF", 0) != 0 || bytes.find("WAVE", 8) != 8) refuse(path, "not a WAV file");
    std::string format, data;
    for (size_t at = 12, size; data.empty() && at < bytes.size(); at += 8 + size + size % 2) {
        size = number<uint32_t>(bytes, at + 4);
        if (at + 8 + size > bytes.size()) refuse(path, "ends before the sound that its header announces");
        if (bytes.compare(at, 4, "fmt ") == 0) format = bytes.substr(at + 8, size);
        if (bytes.compare(at, 4, "data") == 0) data = bytes.substr(at + 8, size);
    }
    const int tag = number<uint16_t>(format, number<uint16_t>(format, 0) == 0xFFFE ? 24 : 0), bits = number<uint16_t>(format, 14);
    const bool is_known = (tag == 1 && bits == 16) || (tag == 3 && bits == 32);  // 0xFFFE: the tag stands further back
    if (!is_known || number<uint16_t>(format, 2) != 1 || number<uint32_t>(format, 4) != rate_hz || data.empty())
        refuse(path, "expected sound in one channel at " + std::to_string(rate_hz) + " Hz, 16-bit integers or 32-bit floats");
    std::vector<float> samples(data.size() / (bits / 8));
    for (size_t i = 0; i < samples.size(); ++i) {
        samples[i] = tag == 1 ? number<int16_t>(data, 2 * i) / 32768.0f : number<float>(data, 4 * i);
        if (!std::isfinite(samples[i])) refuse(path, "samples that are no numbers");
    }
    return samples;
}

std::string fact(const Ort::Session& session, const char* key) {  // of the metadata; empty where there is none
    const auto text = session.GetModelMetadata().LookupCustomMetadataMapAllocated(key, Ort::AllocatorWithDefaultOptions());
    return text ? text.get() : "";
}

std::vector<float> run(Ort::Session& session, float* samples, int64_t n) {  // a window -> its curves
    const int64_t shape[] = {1, n};
    const char *inputs[] = {"window"}, *outputs[] = {"curves"};
    const auto window = Ort::Value::CreateTensor<float>(Ort::AllocatorWithDefaultOptions().GetInfo(), samples, n, shape, 2);
    const auto curves = session.Run(Ort::RunOptions{nullptr}, inputs, &window, 1, outputs, 1);
    const float* first = curves[0].GetTensorData<float>();
    return {first, first + curves[0].GetTensorTypeAndShapeInfo().GetElementCount()};
}

void animate(const std::string& model, const std::string& recording) {
    const std::string graph = read_file(model);
    Ort::Env env(ORT_LOGGING_LEVEL_FATAL);
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session session(env, graph.data(), graph.size(), options);
    if (fact(session, "facedistill") != "2" || fact(session, "kind") != "window") refuse(model, "not a facedistill window graph");
    const int64_t past = std::stoll(fact(session, "past_samples")), window = std::stoll(fact(session, "window_samples"));
    const int64_t rate_hz = std::stoll(fact(session, "sample_rate_hz")), hop = std::stoll(fact(session, "hop_samples"));
    std::vector<float> samples = read_wav(recording, rate_hz);  // silence before and behind, so that every window is whole
    const int64_t n_samples = samples.size(), n_hops = (n_samples + hop - 1) / hop;
    samples.insert(samples.begin(), past, 0.0f);
    samples.resize(n_hops * hop + window);
    std::vector<std::vector<float>> grid;  // a row of curves every hop
    for (int64_t i = 0; i <= n_hops; ++i) grid.push_back(run(session, &samples[i * hop], window));

    std::printf("time_s,");
    for (const char letter : fact(session, "curves"))  // ["eyeBlinkLeft", "eyeLookDownLeft", ...]
        if (!std::strchr("[]\" ", letter)) std::putchar(letter);
    for (int64_t frame = 0; frame * rate_hz < n_samples * FPS; ++frame) {  // each between two rows
        const int64_t row = frame * rate_hz / (FPS * hop), rest = frame * rate_hz % (FPS * hop);
        const float part = float(rest) / float(FPS * hop);
        std::printf("\n%.6f", double(frame) / FPS);
        for (size_t k = 0; k < grid[row].size(); ++k) std::printf(",%.6f", grid[row][k] * (1 - part) + grid[row + 1][k] * part);
    }
    if (std::printf("\n") < 0 || std::fflush(stdout) != 0) refuse("standard output", "cannot be written");
}

int main(int n_arguments, char** arguments) try {
    if (n_arguments != 3) throw std::runtime_error("expected animate MODEL-window.onnx SPEECH.wav > CURVES.csv");
    animate(arguments[1], arguments[2]);
} catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
}
