/* SPDX-License-Identifier: Apache-2.0 */
/* libjahp: .jahp files to pixels and back, in C. docs/guide/c.md is the way in; docs/reference/format.md is the format.
 *
 * A picture gives the same file, and a file the same pixels, as with the Python package, on every machine, for every
 * number of threads and every instruction set.
 *
 *     jahp_model *model = jahp_model_new();
 *     jahp_model_open_file(model, "mbt2018.safetensors");
 *     jahp_decoder *decoder = jahp_decoder_new();
 *     jahp_decoder_add_model(decoder, model);
 *     jahp_decoder_open(decoder, data, size);
 *     jahp_decoder_get_info(decoder, &info, sizeof info);
 *     jahp_decoder_rows(decoder, pixels, pixels_size, stride, &rows);    until rows is 0
 *     jahp_decoder_free(decoder);
 *     jahp_model_free(model);
 *
 * - Nothing is global. Objects are independent of each other, but that decoders and encoders keep the models that they
 *   were given: a model may be freed at any time, and is gone when nobody keeps it.
 * - A decoder or encoder is used by one thread at a time. An open model may be shared between threads.
 * - Every call but the freeing ones says by its status whether it did what it should. If not, the object's message says
 *   in one sentence what was wrong and what to do; it is valid until the next call with the object. The object stays as
 *   it was, or, after decoding and encoding that failed, can be opened or used anew.
 * - Null is freed as nothing. Other null pointers are refused where a pointer is needed.
 * - No call ends the process, prints, or reads the environment. Memory that runs out is JAHP_NO_MEMORY.
 * - Sizes are in bytes. Pixels are bytes unless more is asked for, rows from top to bottom, channels interleaved.
 *   `stride` is from one row to the next, at least a row's bytes.
 */
#ifndef JAHP_H
#define JAHP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(JAHP_BUILDING)
#define JAHP_API __declspec(dllexport)
#elif defined(__GNUC__)
#define JAHP_API __attribute__((visibility("default")))
#else
#define JAHP_API
#endif

/* Grows with every change that programs built against an older header would notice. jahp_abi_version() is that of the
 * library in use: compare them where the library may be another one than that of the header. */
#define JAHP_ABI_VERSION 1
JAHP_API uint32_t jahp_abi_version(void);
/* Of the release, as "0.1.0". */
JAHP_API const char *jahp_version(void);

typedef enum jahp_status {
    JAHP_OK = 0,
    JAHP_FORMAT_ERROR = 1,  /* the file is damaged, truncated, too large or of an unknown version */
    JAHP_MODEL_ERROR = 2,   /* a model file cannot be read, or does not hold what it should */
    JAHP_UNKNOWN_MODEL = 3, /* the file names a model that the decoder was not given */
    JAHP_IMAGE_ERROR = 4,   /* a picture that cannot be encoded */
    JAHP_USAGE_ERROR = 5,   /* an argument out of its range, or a call out of turn */
    JAHP_NO_MEMORY = 6,
    JAHP_CANCELLED = 7,     /* the caller's jahp_cancel said so */
    JAHP_FAILED = 8         /* anything else: the system gave no thread, or a fault of the library */
} jahp_status;

/* The name of a status, as "JAHP_OK"; "unknown" for other numbers. */
JAHP_API const char *jahp_status_name(jahp_status status);

/* Asked every now and then while the library works, by the thread that called it. If it is not 0 the work ends. */
typedef int (*jahp_cancel)(void *opaque);

/* ---- Models: the numbers that decoding needs, one file each ---- */

typedef struct jahp_model jahp_model;

typedef struct jahp_model_info {
    char id[17];            /* in hexadecimal: by it files name the model */
    char architecture[31];  /* as "mbt2018" */
    double lowest, highest; /* quality of its payloads */
} jahp_model_info;

/* Null if there is no memory. */
JAHP_API jahp_model *jahp_model_new(void);
JAHP_API void jahp_model_free(jahp_model *model);
/* Reads and checks a model file, once for each model. What decoding and encoding need besides is read, checked and
 * packed when it is first needed: so the file stays open, and memory is copied. `name` is what messages call it, its
 * path for instance; null: "the model". `path` is UTF-8 on Windows, however long, and the system's bytes elsewhere. */
JAHP_API jahp_status jahp_model_open_file(jahp_model *model, const char *path);
JAHP_API jahp_status jahp_model_open_memory(jahp_model *model, const uint8_t *data, size_t size, const char *name);
/* info_size: sizeof(jahp_model_info). Later versions add fields at the end. */
JAHP_API jahp_status jahp_model_get_info(jahp_model *model, jahp_model_info *info, size_t info_size);
JAHP_API const char *jahp_model_message(const jahp_model *model);

/* ---- Options of decoders (D) and encoders (E) ---- */

typedef enum jahp_option {
    /* DE: 1 to 1024; 1 at first. The library starts them for a call and ends them with it, but for rows of large
     * pictures, which threads go on decoding between the calls. */
    JAHP_THREADS = 1,
    /* DE: larger pictures are refused before anything is allocated for them; 2^28 at first. */
    JAHP_MAX_PIXELS = 2,
    /* D: 0, at first: as info says; 4: RGBA always, opaque where the file has no alpha. */
    JAHP_CHANNELS = 3,
    /* E: the file is never larger, and its quality searched for; 0, at first: no such bound. */
    JAHP_MAX_BYTES = 4,
    /* E: no sample differs by more, 0 is lossless; JAHP_NO_BOUND at first. 0 to 31 with 8 bits, and in units of
     * JAHP_DEPTH to 63 with 9, 127 with 10 and 255 with more. */
    JAHP_MAX_ERROR = 5,
    /* E: 1: a checksum of the pixels goes into the file, for the time of a decode; 0 at first. */
    JAHP_PIXEL_CHECKSUM = 6,
    /* DE: 8, at first, or 16, in which 65535 is white: two bytes each, in the machine's order. */
    JAHP_SAMPLE_BITS = 7,
    /* E: how many of the 16 bits are used, 9 to 16: with 10 samples are 0 to 1023. 16 at first. The file says so.
     * Decoders give 16 bits, of which the upper 10 are then those samples. */
    JAHP_DEPTH = 8,
    /* E: 1, at first: text, screens, charts and line art are kept by themselves, as with JAHP_MAX_ERROR, where that
     * costs less: by the model's own loss of bits and squared errors, and with a bound or a target, of the files that
     * reach it. Decoders then need no model. Beside photos they are laid over what the nets make of these. 0: never. */
    JAHP_DRAWINGS = 9
} jahp_option;

#define JAHP_NO_BOUND ((size_t)-1)

/* ---- Decoding ---- */

typedef struct jahp_decoder jahp_decoder;

/* What a file says of itself. */
typedef struct jahp_info {
    uint32_t width, height;
    uint32_t channels;      /* that decoding gives: 1 grey, 3 RGB, 4 RGBA; grey with alpha comes as RGBA */
    uint32_t grey;          /* 1: red, green and blue are the same */
    uint32_t alpha;         /* 1: it has alpha */
    int32_t max_error;      /* of exact pixels, 0: lossless; -1: of others, that need a model */
    double quality;         /* that was asked for; 0 of exact pixels */
    double base_quality;    /* under a layer, that of the coarse picture; else 0 */
    char model[17];         /* id of the model in hexadecimal; zeros for exact pixels, which need none */
    uint8_t lanes, skip;
    uint8_t depth;          /* bits of a sample that the file was made of, 8 to 16 */
    uint64_t pixels_size;   /* of all rows without gaps: view_width * view_height * channels, twice that for 16 bits */
    uint64_t payload_size;
    uint32_t view_width, view_height; /* of what is decoded: width and height, or what jahp_decoder_set_view has made */
} jahp_info;

/* Null if there is no memory. */
JAHP_API jahp_decoder *jahp_decoder_new(void);
JAHP_API void jahp_decoder_free(jahp_decoder *decoder);
/* Holds from the next jahp_decoder_open on. */
JAHP_API jahp_status jahp_decoder_set(jahp_decoder *decoder, jahp_option option, size_t value);
/* Null: nobody is asked. */
JAHP_API jahp_status jahp_decoder_set_cancel(jahp_decoder *decoder, jahp_cancel cancel, void *opaque);
/* A model that files may name; any number of them. The decoder keeps it. */
JAHP_API jahp_status jahp_decoder_add_model(jahp_decoder *decoder, jahp_model *model);
/* Takes a file, in place of the one before, and checks what its bytes say of themselves; nothing larger than the file
 * is allocated, and no model is needed. `data` must stay as it is until the next open or the end of the decoder. */
JAHP_API jahp_status jahp_decoder_open(jahp_decoder *decoder, const uint8_t *data, size_t size);
/* In pixels of the picture at full size. */
typedef struct jahp_region {
    int64_t left, top, width, height;
} jahp_region;

/* What is decoded of the open file, until the next open, in place of the whole: to be called before its first row, as
 * often as you like; jahp_info then tells the size of what will come.
 *
 * region: a part of the picture, bit for bit what the whole has there, for the time of the latents and of the part;
 * null: all of it. scale: 1, 2, 4, 8 or 16: the picture with its sides divided by it, rounded up, whose pixels are the
 * means of squares. 2 takes the time of the whole; 4, 8 and 16 come near those means without most of the work, where
 * the model has heads for them. Both together: all pixels of the small picture that the region touches.
 *
 * Small pictures have 8 bits. A checksum of the pixels is of the whole, and is not looked at. Of a file of exact pixels
 * only those strips are read that the region touches; a small picture of a file with a layer over coarse pixels is made
 * of the latter. */
JAHP_API jahp_status jahp_decoder_set_view(jahp_decoder *decoder, int32_t scale, const jahp_region *region);
/* Of the open file. info_size: sizeof(jahp_info). Later versions add fields at the end. */
JAHP_API jahp_status jahp_decoder_get_info(jahp_decoder *decoder, jahp_info *info, size_t info_size);
/* The data of a chunk of the open file, within it: "iccp", "exif" or "xmp_", say. Null and 0 where there is none. */
JAHP_API jahp_status jahp_decoder_get_chunk(jahp_decoder *decoder, const char *type, const uint8_t **data,
                                            size_t *size);
/* The next rows, as many as are there at once and fit into `size` bytes, at least one; *rows is 0 behind the last one.
 *
 * Memory grows with the width of the view, but for what latents need: some hundred bytes for each 16 x 16 pixels of the
 * picture, and below 2^22 pixels the latents themselves. Whether all was right is known at the end: what fails then
 * fails in place of the last rows, and those before are to be thrown away. After a failure the file is to be opened
 * anew. */
JAHP_API jahp_status jahp_decoder_rows(jahp_decoder *decoder, uint8_t *pixels, size_t size, size_t stride,
                                       uint32_t *rows);
/* All rows that are left, in the decoder's own memory and without gaps; valid until the next open or the end of the
 * decoder. */
JAHP_API jahp_status jahp_decoder_image(jahp_decoder *decoder, const uint8_t **pixels, size_t *size);
JAHP_API const char *jahp_decoder_message(const jahp_decoder *decoder);

/* ---- Encoding ---- */

typedef struct jahp_encoder jahp_encoder;

/* Null if there is no memory. */
JAHP_API jahp_encoder *jahp_encoder_new(void);
JAHP_API void jahp_encoder_free(jahp_encoder *encoder);
JAHP_API jahp_status jahp_encoder_set(jahp_encoder *encoder, jahp_option option, size_t value);
/* 1 to 8, and above 8, to 12, a layer over the pixels of a lower one; rounded to steps of 0.05; 4 at first. With
 * JAHP_MAX_BYTES it is where the search begins. With JAHP_MAX_ERROR it is of no account. */
JAHP_API jahp_status jahp_encoder_set_quality(jahp_encoder *encoder, double quality);
/* A search for the quality at which the file comes near to a target, up to quality 8; 0: no such target. PSNR goes with
 * neither of the sizes. */
typedef enum jahp_target {
    JAHP_TARGET_BPP = 1, /* bits per pixel of the whole file; with JAHP_MAX_BYTES it is not larger either */
    JAHP_TARGET_PSNR = 2 /* in dB over all samples but alpha, below 100 */
} jahp_target;
JAHP_API jahp_status jahp_encoder_set_target(jahp_encoder *encoder, jahp_target target, double value);
JAHP_API jahp_status jahp_encoder_set_cancel(jahp_encoder *encoder, jahp_cancel cancel, void *opaque);
/* The model to encode with; none is needed with JAHP_MAX_ERROR. The encoder keeps it. */
JAHP_API jahp_status jahp_encoder_set_model(jahp_encoder *encoder, jahp_model *model);
/* Metadata for the files from now on: type is "iccp" (an ICC profile), "exif" (a block that begins with its TIFF
 * header), "xmp_" (an XMP packet) or "cicp" (four bytes of H.273: colours, curve, matrix, range). They are copied as
 * they are. Size 0: none. */
JAHP_API jahp_status jahp_encoder_set_chunk(jahp_encoder *encoder, const char *type, const uint8_t *data, size_t size);
/* A picture to a file, which is the encoder's and valid until its next call or its end. channels: 1 grey, 2 grey and
 * alpha, 3 RGB, 4 RGBA; alpha is kept without loss. size: of the pixels, at least (height - 1) * stride and a row. */
JAHP_API jahp_status jahp_encoder_encode(jahp_encoder *encoder, const uint8_t *pixels, size_t size, size_t stride,
                                         uint32_t width, uint32_t height, uint32_t channels, const uint8_t **data,
                                         size_t *data_size);
JAHP_API const char *jahp_encoder_message(const jahp_encoder *encoder);

#ifdef __cplusplus
}
#endif

#endif
