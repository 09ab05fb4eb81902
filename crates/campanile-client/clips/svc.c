// Encodes raw I420 pictures from standard input in scalable layers, as IVF on standard output: what neither ffmpeg nor
// vpxenc nor aomenc has switches for. Each IVF frame holds all spatial layers of one moment. Built and run by make.py:
//
//   cc -O2 svc.c -lvpx -laom -o svc && ./svc vp9|av1 SPATIAL TEMPORAL WIDTH HEIGHT RATE KBPS
//
// Temporal layers, where there are three, come as 0 2 1 2. Spatial ones, where there are three, are a quarter, a half and
// the whole of the width; AV1 is made with one only. The mode goes into the four unused bytes of the IVF header ("L3T3").

#include <aom/aom_encoder.h>
#include <aom/aomcx.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vpx/vp8cx.h>
#include <vpx/vpx_encoder.h>

static int spatial, temporal, width, height, rate, kbps;

static void check(int failed, const char *what) {
    if (!failed) return;
    fprintf(stderr, "svc: %s failed\n", what);
    exit(1);
}

static void put(uint8_t *at, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; i++) at[i] = value >> (8 * i);
}

static void write_head(const char *fourcc) {
    uint8_t head[33] = "DKIF";
    put(head + 6, 32, 2);
    memcpy(head + 8, fourcc, 4);
    put(head + 12, width, 2);
    put(head + 14, height, 2);
    put(head + 16, rate, 4);
    put(head + 20, 1, 4);
    snprintf((char *)head + 28, 5, "L%dT%d", spatial, temporal);
    fwrite(head, 1, 32, stdout);
}

static void write_frame(const void *data, size_t bytes, int number) {
    uint8_t head[12] = {0};
    put(head, bytes, 4);
    put(head + 4, number, 4);
    fwrite(head, 1, 12, stdout);
    fwrite(data, 1, bytes, stdout);
}

// The temporal layer of a frame: 0 2 1 2, or always 0.
static int layer_of(int number) {
    static const int pattern[] = {0, 2, 1, 2};
    return temporal == 3 ? pattern[number % 4] : 0;
}

// Of the bitrate, what goes to this temporal layer and those below it, in percent.
static int share_of(int layer) {
    static const int shares[] = {50, 70, 100};
    return temporal == 3 ? shares[layer] : 100;
}

static void vp9(uint8_t *picture, size_t bytes) {
    vpx_codec_enc_cfg_t config;
    check(vpx_codec_enc_config_default(vpx_codec_vp9_cx(), &config, 0), "configuration");
    config.g_w = width;
    config.g_h = height;
    config.g_timebase.num = 1;
    config.g_timebase.den = rate;
    config.rc_target_bitrate = kbps;
    config.rc_end_usage = VPX_CBR;
    config.rc_max_quantizer = 56;
    config.rc_resize_allowed = config.rc_dropframe_thresh = 0;
    config.g_lag_in_frames = 0;
    config.g_pass = VPX_RC_ONE_PASS;
    config.g_error_resilient = temporal > 1;
    config.kf_mode = VPX_KF_DISABLED;
    config.ss_number_layers = spatial;
    config.ts_number_layers = temporal;
    config.temporal_layering_mode =
        temporal == 3 ? VP9E_TEMPORAL_LAYERING_MODE_0212 : VP9E_TEMPORAL_LAYERING_MODE_NOLAYERING;
    vpx_svc_extra_cfg_t svc = {0};
    for (int s = 0; s < spatial; s++) {
        // Each spatial layer gets twice what the one below it has: 1/7, 2/7, 4/7.
        int of_layer = kbps * (1 << s) / ((1 << spatial) - 1);
        svc.scaling_factor_num[s] = 1;
        svc.scaling_factor_den[s] = 1 << (spatial - 1 - s);
        config.ss_target_bitrate[s] = of_layer;
        for (int t = 0; t < temporal; t++) {
            int layer = s * temporal + t;
            config.layer_target_bitrate[layer] = of_layer * share_of(t) / 100;
            svc.max_quantizers[layer] = config.rc_max_quantizer;
            svc.min_quantizers[layer] = config.rc_min_quantizer;
        }
        svc.speed_per_layer[s] = 5;
    }
    for (int t = 0; t < temporal; t++) config.ts_rate_decimator[t] = 1 << (temporal - 1 - t);
    vpx_codec_ctx_t codec;
    check(vpx_codec_enc_init(&codec, vpx_codec_vp9_cx(), &config, 0), "initialization");
    check(vpx_codec_control(&codec, VP8E_SET_CPUUSED, 5), "speed");
    check(vpx_codec_control(&codec, VP9E_SET_SVC, 1), "layers");
    check(vpx_codec_control(&codec, VP9E_SET_SVC_PARAMETERS, &svc), "layer parameters");
    check(vpx_codec_control(&codec, VP9E_SET_AQ_MODE, 3), "adaptive quantization");
    vpx_image_t image;
    vpx_img_wrap(&image, VPX_IMG_FMT_I420, width, height, 1, picture);
    write_head("VP90");
    for (int number = 0; fread(picture, 1, bytes, stdin) == bytes; number++) {
        check(vpx_codec_encode(&codec, &image, number, 1, 0, VPX_DL_REALTIME), "encoding");
        vpx_codec_iter_t iterator = NULL;
        const vpx_codec_cx_pkt_t *packet;
        while ((packet = vpx_codec_get_cx_data(&codec, &iterator)))
            if (packet->kind == VPX_CODEC_CX_FRAME_PKT) write_frame(packet->data.frame.buf, packet->data.frame.sz, number);
    }
}

static void av1(uint8_t *picture, size_t bytes) {
    check(spatial != 1, "one spatial layer");
    aom_codec_enc_cfg_t config;
    check(aom_codec_enc_config_default(aom_codec_av1_cx(), &config, AOM_USAGE_REALTIME), "configuration");
    config.g_w = width;
    config.g_h = height;
    config.g_timebase.num = 1;
    config.g_timebase.den = rate;
    config.rc_target_bitrate = kbps;
    config.rc_end_usage = AOM_CBR;
    config.g_lag_in_frames = 0;
    config.g_error_resilient = 0;
    config.kf_mode = AOM_KF_DISABLED;
    aom_codec_ctx_t codec;
    check(aom_codec_enc_init(&codec, aom_codec_av1_cx(), &config, 0), "initialization");
    check(aom_codec_control(&codec, AOME_SET_CPUUSED, 8), "speed");
    check(aom_codec_control(&codec, AV1E_SET_AQ_MODE, 3), "adaptive quantization");
    // Chromium's realtime encoder leaves these tools out, and so need decoders of small devices not know them.
    check(aom_codec_control(&codec, AV1E_SET_ENABLE_ORDER_HINT, 0), "order hints");
    check(aom_codec_control(&codec, AV1E_SET_ENABLE_GLOBAL_MOTION, 0), "global motion");
    aom_svc_params_t svc = {.number_spatial_layers = 1, .number_temporal_layers = temporal};
    svc.scaling_factor_num[0] = svc.scaling_factor_den[0] = 1;
    for (int t = 0; t < temporal; t++) {
        svc.max_quantizers[t] = config.rc_max_quantizer;
        svc.min_quantizers[t] = config.rc_min_quantizer;
        svc.layer_target_bitrate[t] = kbps * share_of(t) / 100;
        svc.framerate_factor[t] = 1 << (temporal - 1 - t);
    }
    check(aom_codec_control(&codec, AV1E_SET_SVC_PARAMS, &svc), "layer parameters");
    aom_image_t image;
    aom_img_wrap(&image, AOM_IMG_FMT_I420, width, height, 1, picture);
    write_head("AV01");
    for (int number = 0; fread(picture, 1, bytes, stdin) == bytes; number++) {
        int layer = layer_of(number);
        aom_svc_layer_id_t id = {.temporal_layer_id = layer};
        // Slot 0 keeps the last frame of layer 0, slot 1 of layer 1; frames of layer 2 are kept nowhere. Each refers to the
        // nearest kept one: that of layer 1 only right after it.
        aom_svc_ref_frame_config_t refs = {.reference = {1}};
        for (int i = 0; i < 7; i++) refs.ref_idx[i] = temporal == 3 && number % 4 == 3;
        if (layer < 2) refs.refresh[layer] = 1;
        check(aom_codec_control(&codec, AV1E_SET_SVC_LAYER_ID, &id), "layer");
        check(aom_codec_control(&codec, AV1E_SET_SVC_REF_FRAME_CONFIG, &refs), "references");
        check(aom_codec_encode(&codec, &image, number, 1, number == 0 ? AOM_EFLAG_FORCE_KF : 0), "encoding");
        aom_codec_iter_t iterator = NULL;
        const aom_codec_cx_pkt_t *packet;
        while ((packet = aom_codec_get_cx_data(&codec, &iterator)))
            if (packet->kind == AOM_CODEC_CX_FRAME_PKT) write_frame(packet->data.frame.buf, packet->data.frame.sz, number);
    }
}

int main(int count, char **arguments) {
    check(count != 8, "svc vp9|av1 SPATIAL TEMPORAL WIDTH HEIGHT RATE KBPS:");
    int *numbers[] = {&spatial, &temporal, &width, &height, &rate, &kbps};
    for (int i = 0; i < 6; i++) *numbers[i] = atoi(arguments[i + 2]);
    size_t bytes = (size_t)width * height * 3 / 2;
    uint8_t *picture = malloc(bytes);
    check(!picture, "memory");
    if (!strcmp(arguments[1], "vp9")) vp9(picture, bytes);
    else av1(picture, bytes);
    return 0;
}
