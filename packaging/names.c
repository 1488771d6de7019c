/* Linked into the static binary alone.
 *
 * The C library asks for names as /etc/nsswitch.conf says, and for that loads libraries of the system where the program runs. In a
 * static program these meet another C library than their own, and it dies of that (seen: SIGFPE). So names are looked up by what is
 * in the program: /etc/hosts, and DNS as /etc/resolv.conf says. */
#include <nss.h>

__attribute__((constructor)) static void names(void) {
    __nss_configure_lookup("hosts", "files dns");
}
