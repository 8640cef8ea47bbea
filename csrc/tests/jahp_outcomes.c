/* SPDX-License-Identifier: Apache-2.0 */
/* Files through the C interface, as C99 has it: what each comes to, for tests that know what it should. Lines of the
 * standard input:
 *
 *     M path   opens a model, which decoders from then on are given
 *     N path   the same, out of memory
 *     D path   decodes a file by rows
 *     V scale left top width height path     the same of a region, of which a width of 0 is all, at a scale
 *     X        forgets all models
 *
 * After each line but X one line: `ok` and, of D and V, width, height, channels and the sum of all bytes times their places;
 * or the status and the message.
 */
#include <jahp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MODELS = 64 };
static jahp_model *models[MOST_MODELS];
static int model_count = 0;

static void fail(const char *what) {
    fprintf(stderr, "jahp_outcomes: %s\n", what);
    exit(2);
}

static void *checked(void *memory) {
    if (memory == NULL) fail("there is not enough memory");
    return memory;
}

static uint8_t *read_file(const char *path, size_t *size) {
    uint8_t *data = NULL;
    size_t room = 4096, got;
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail(path);
    *size = 0;
    do {
        room *= 2;
        data = checked(realloc(data, room));
        got = fread(data + *size, 1, room - *size, file);
        *size += got;
    } while (*size == room);
    fclose(file);
    /* Of the exact length: a sanitizer then sees the first byte that is read beyond it. */
    return checked(realloc(data, *size > 0 ? *size : 1));
}

static void tell(jahp_status status, const char *message) { printf("%s %s\n", jahp_status_name(status), message); }

static void open_model(const char *path, int in_memory) {
    jahp_model *model = checked(jahp_model_new());
    jahp_status status;
    if (in_memory) {
        size_t size;
        uint8_t *data = read_file(path, &size);
        status = jahp_model_open_memory(model, data, size, path);
        free(data);
    } else {
        status = jahp_model_open_file(model, path);
    }
    if (status == JAHP_OK && model_count < MOST_MODELS) {
        printf("ok\n");
        models[model_count++] = model;
        return;
    }
    tell(status, jahp_model_message(model));
    jahp_model_free(model);
}

static void forget_models(void) {
    while (model_count > 0) jahp_model_free(models[--model_count]);
}

static jahp_status decode_rows(jahp_decoder *decoder, const jahp_info *info) {
    const size_t stride = (size_t)info->view_width * info->channels + 3, size = 7 * stride;
    uint8_t *pixels = checked(malloc(size));
    uint64_t sum = 0, place = 0;
    uint32_t rows = 1, total = 0, row;
    jahp_status status = JAHP_OK;
    size_t i;
    while (status == JAHP_OK && rows > 0) {
        status = jahp_decoder_rows(decoder, pixels, size, stride, &rows);
        total += rows;
        for (row = 0; row < rows; ++row)
            for (i = 0; i < stride - 3; ++i) sum += ++place * pixels[row * stride + i];
    }
    free(pixels);
    if (status == JAHP_OK && total != info->view_height) fail("there are more or fewer rows than the height");
    if (status == JAHP_OK)
        printf("ok %u %u %u %llu\n", (unsigned)info->view_width, (unsigned)info->view_height, (unsigned)info->channels,
               (unsigned long long)sum);
    return status;
}

/* region: null for all of it. */
static void decode(const char *path, int32_t scale, const jahp_region *region) {
    jahp_decoder *decoder = checked(jahp_decoder_new());
    size_t size;
    uint8_t *data = read_file(path, &size);
    jahp_info info;
    jahp_status status = JAHP_OK;
    int i;
    for (i = 0; i < model_count && status == JAHP_OK; ++i) status = jahp_decoder_add_model(decoder, models[i]);
    if (status == JAHP_OK) status = jahp_decoder_open(decoder, data, size);
    if (status == JAHP_OK) status = jahp_decoder_set_view(decoder, scale, region);
    if (status == JAHP_OK) status = jahp_decoder_get_info(decoder, &info, sizeof info);
    if (status == JAHP_OK) status = decode_rows(decoder, &info);
    if (status != JAHP_OK) tell(status, jahp_decoder_message(decoder));
    jahp_decoder_free(decoder);
    free(data);
}

static void decode_view(const char *line) {
    long numbers[5];
    jahp_region region;
    int i;
    for (i = 0; i < 5; ++i) {
        char *end;
        numbers[i] = strtol(line, &end, 10);
        if (end == line || *end != ' ') fail("a view is five numbers, each with a space behind it, and a path");
        line = end + 1;
    }
    region.left = numbers[1];
    region.top = numbers[2];
    region.width = numbers[3];
    region.height = numbers[4];
    decode(line, (int32_t)numbers[0], region.width == 0 ? NULL : &region);
}

int main(void) {
    static char line[8192];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == 'X')
            forget_models();
        else if (strlen(line) < 3)
            fail("lines are a letter, a space and a path");
        else if (line[0] == 'D')
            decode(line + 2, 1, NULL);
        else if (line[0] == 'V')
            decode_view(line + 2);
        else
            open_model(line + 2, line[0] == 'N');
        fflush(stdout);
    }
    forget_models();
    return 0;
}
