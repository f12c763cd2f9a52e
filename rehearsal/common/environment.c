#include "environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PREFIX "NCCLTAP_REHEARSAL"
#define EXIT_NOT_A_REHEARSAL 78 /* EX_CONFIG of sysexits.h */

static const struct {
  const char *name, *unset;
} settings[SETTINGS] = {
#define SETTING_ROW(id, suffix, unset, meaning) {PREFIX suffix, unset},
    FOR_EACH_SETTING(SETTING_ROW)};

const char *environment_text(enum setting setting) {
  const char *value = getenv(settings[setting].name);
  return value && *value ? value : settings[setting].unset;
}

long environment_number(enum setting setting) {
  return strtol(environment_text(setting), NULL, 10);
}

void rehearsal_required(const char *library) {
  if (*environment_text(SETTING_SWITCH)) return;
  fprintf(stderr,
          "%s: this is nccltap's simulated library, which moves no data, and this process is no rehearsal: "
          "remove its directory from LD_LIBRARY_PATH, or start the process by `nccltap rehearse`\n",
          library);
  _exit(EXIT_NOT_A_REHEARSAL);
}
