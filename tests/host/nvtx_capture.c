/* A tool in the sense of NVTX: a program that finds it in NVTX_INJECTION64_PATH writes each range of a domain, as it is
   pushed and popped, into the file that NVTX_CAPTURE names. One tab-separated line an event:
       push  domain  category  message  payload type  payload        pop  domain
   Only what the nvtx package calls is taken; the structures below are the published C interface of NVTX 3. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLBACKS = 1, CORE2 = 5 };                                          /* export table, callback module */
enum { RANGE_PUSH = 4, RANGE_POP = 5, NAME_CATEGORY = 8, REGISTER_STRING = 10, DOMAIN_CREATE = 12 };
enum { REGISTERED = 3, INT64 = 2, DOUBLE = 3 };                             /* types of messages and of payloads */
enum { MOST_CATEGORIES = 64 };

typedef void (*function)(void);
typedef struct {
    size_t size;
    int (*module_functions)(int module, function ***table, unsigned *length);
} callbacks;
typedef struct {
    uint16_t version, size;
    uint32_t category;
    int32_t color_type;
    uint32_t color;
    int32_t payload_type, reserved;
    union { int64_t integer; double real; } payload;
    int32_t message_type;
    const char *message;
} attributes;
typedef struct { const char *name, *categories[MOST_CATEGORIES]; } domain;

static FILE *out;

static void *create_domain(const char *name) {
    domain *created = calloc(1, sizeof *created);
    created->name = strdup(name);
    return created;
}
static void *register_string(domain *of, const char *text) { (void)of; return strdup(text); }
static void name_category(domain *of, uint32_t category, const char *name) {
    if (category < MOST_CATEGORIES) of->categories[category] = strdup(name);
}
static int push(domain *of, const attributes *range) {
    const char *category = range->category < MOST_CATEGORIES ? of->categories[range->category] : NULL;
    const char *message = range->message_type == REGISTERED ? range->message : "";
    fprintf(out, "push\t%s\t%s\t%s\t", of->name, category ? category : "", message);
    if (range->payload_type == INT64) fprintf(out, "int\t%lld\n", (long long)range->payload.integer);
    else if (range->payload_type == DOUBLE) fprintf(out, "float\t%.17g\n", range->payload.real);
    else fprintf(out, "none\t\n");
    return 0;
}
static int pop(domain *of) { fprintf(out, "pop\t%s\n", of->name); return fflush(out); }

int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t)) {
    const callbacks *exported = export_table(CALLBACKS);
    function **table;
    unsigned length;
    const char *path = getenv("NVTX_CAPTURE");
    if (!path || !(out = fopen(path, "w"))) return 0;
    if (!exported || !exported->module_functions(CORE2, &table, &length) || length <= DOMAIN_CREATE) return 0;
    *table[DOMAIN_CREATE] = (function)create_domain;
    *table[REGISTER_STRING] = (function)register_string;
    *table[NAME_CATEGORY] = (function)name_category;
    *table[RANGE_PUSH] = (function)push;
    *table[RANGE_POP] = (function)pop;
    return 1;
}
