/* What a program is given: arguments, environment, working directory, standard streams. Exit code = argc. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <ctype.h>

extern char **environ;

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("argv[%d]=<%s>\n", i, argv[i]);
  printf("argv[argc] is %s\n", argv[argc] == NULL ? "NULL" : "not NULL");
  for (char **e = environ; *e; e++) printf("env <%s>\n", *e);
  char dir[4096];
  printf("cwd=<%s>\n", getcwd(dir, sizeof dir) ? dir : "?");
  printf("tty %d %d %d\n", isatty(0), isatty(1), isatty(2));
  long count = 0;
  for (int c; (c = getchar()) != EOF; count++) putchar(toupper(c));
  fflush(stdout);
  fprintf(stderr, "%ld bytes of input\n", count);
  return argc;
}
