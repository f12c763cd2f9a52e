/* Stands in for an uplink of another version: its version is not ours, and to call it would crash. */
struct {
  unsigned version;
  void *functions[8];
} nccltap_uplink = {~0u, {0}};
