/* SPDX-License-Identifier: Apache-2.0 */
/* A .jahp file to a picture that most programs read (PPM, or PAM where it has alpha), a few rows at a time:
 *
 *     decode MODEL.safetensors PHOTO.jahp PHOTO.ppm
 */
#include <jahp.h>
#include <stdio.h>
#include <stdlib.h>

static uint8_t *read_file(const char *path, size_t *size) {
    uint8_t *data = NULL;
    long end;
    FILE *file = fopen(path, "rb");
    if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        *size = (size_t)end;
        data = malloc(*size + 1);
        if (data != NULL && fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    if (file != NULL) fclose(file);
    if (data == NULL) fprintf(stderr, "decode: cannot read %s\n", path);
    return data;
}

static void write_head(FILE *out, const jahp_info *info) {
    if (info->alpha)
        fprintf(out, "P7\nWIDTH %u\nHEIGHT %u\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n",
                (unsigned)info->width, (unsigned)info->height);
    else
        fprintf(out, "P%c\n%u %u\n255\n", info->grey ? '5' : '6', (unsigned)info->width, (unsigned)info->height);
}

/* Rows as they come: memory does not grow with the height, but for the latents. */
static int write_rows(jahp_decoder *decoder, const jahp_info *info, const char *path) {
    const size_t stride = (size_t)info->width * info->channels, size = 64 * stride;
    uint8_t *pixels = malloc(size);
    FILE *out = fopen(path, "wb");
    int fine = 0;
    if (pixels == NULL || out == NULL) {
        fprintf(stderr, "decode: cannot write %s\n", path);
    } else {
        uint32_t rows;
        fine = 1;
        write_head(out, info);
        do {
            if (jahp_decoder_rows(decoder, pixels, size, stride, &rows) != JAHP_OK) {
                fprintf(stderr, "decode: %s\n", jahp_decoder_message(decoder));
                fine = 0;
                break;
            }
            fwrite(pixels, stride, rows, out);
        } while (rows > 0);
        if (ferror(out)) fine = 0;
    }
    if (out != NULL && fclose(out) != 0) fine = 0;
    free(pixels);
    if (!fine) remove(path); /* what is wrong may show late: rows before it are not to be used */
    return fine;
}

static int decode(jahp_model *model, jahp_decoder *decoder, char **arguments) {
    jahp_info info;
    size_t size;
    int fine = 0;
    uint8_t *data = read_file(arguments[2], &size);
    if (data == NULL) return 0;
    if (jahp_model_open_file(model, arguments[1]) != JAHP_OK) {
        fprintf(stderr, "decode: %s\n", jahp_model_message(model));
    } else if (jahp_decoder_add_model(decoder, model) != JAHP_OK ||
               jahp_decoder_set(decoder, JAHP_THREADS, 2) != JAHP_OK ||
               jahp_decoder_open(decoder, data, size) != JAHP_OK ||
               jahp_decoder_get_info(decoder, &info, sizeof info) != JAHP_OK) {
        fprintf(stderr, "decode: %s\n", jahp_decoder_message(decoder));
    } else {
        fine = write_rows(decoder, &info, arguments[3]);
    }
    free(data);
    return fine;
}

int main(int count, char **arguments) {
    jahp_model *model;
    jahp_decoder *decoder;
    int fine = 0;
    if (count != 4) {
        fprintf(stderr, "usage: decode MODEL.safetensors PHOTO.jahp PHOTO.ppm\n");
        return 2;
    }
    if (jahp_abi_version() != JAHP_ABI_VERSION) {
        fprintf(stderr, "decode: libjahp is another one than this program was built with\n");
        return 1;
    }
    model = jahp_model_new();
    decoder = jahp_decoder_new();
    if (model != NULL && decoder != NULL) fine = decode(model, decoder, arguments);
    jahp_decoder_free(decoder);
    jahp_model_free(model);
    return fine ? 0 : 1;
}
