#ifndef KERNEL_NAMES_H_
#define KERNEL_NAMES_H_

/* The mangled name under which the function was registered, or NULL. */
const char *kernel_name(const void *function);

#endif
