/* loadgen - load generator for POST /v1/messages, for use with mock_upstream.
 *
 *   loadgen unary  [-p port] [-c conns] [-d secs] [-w warmup secs] [-r rate] [-b body.json] [-P path] [-X 'K: v']...
 *       closed loop (default), or open loop at a constant rate (-r): latency counts from the
 *       moment a request was due, so a stalled server is charged for it (as wrk2 does).
 *   loadgen stream [-p port] [-c streams] [-d secs] [-w warmup secs] [-R ramp conns/s] [-1] ...
 *       keeps -c streams open (each starts again when it ends; -1: each runs once), counts
 *       events, time to first byte, and how long each delta was under way (t=<monotonic ns>).
 *   loadgen hold   same as stream -1 but prints a line when all streams are open, for RSS figures;
 *                  few at a time wait for their first byte
 *   loadgen mixed  [-C cuts] [-S percent] [-A percent] [-R ramp conns/s] ...
 *       -c clients, each with a conversation of its own that it sends again, one turn longer, until
 *       it is as long as the body, which then begins anew with other texts. The body is the part
 *       of a request before its last message ends; -C is a file with the lengths, one a line, at
 *       which it can be cut. -S of the requests are streams (90), -A of these are left half way.
 *
 *   -k KEY is sent as x-api-key.
 *   -F  lets what is under way at the end come to its own end, for up to 20 s.
 *   -u  every "@@@@@@@@@@@@" of the body becomes another number with each request, so that no text
 *       was seen before. The body stays as long as it was; one half sent is stamped anew, too.
 *
 * One thread, epoll, 127.0.0.1 only.  Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* log-linear histogram of ns/100, about 1.6 % wide */
#define HN 4096
typedef struct {
  uint64_t n, b[HN];
  double sum;
  uint64_t max;
} hist;
static int hidx(uint64_t v) {
  if (v < 128) return v;
  int e = 63 - __builtin_clzll(v);
  int i = (e - 6) * 64 + (int)((v >> (e - 6)) & 63) + 64;
  return i < HN ? i : HN - 1;
}
static double hval(int i) {
  if (i < 128) return i;
  int e = (i - 64) / 64 + 6, s = (i - 64) % 64;
  return (double)((uint64_t)(64 + s) << (e - 6));
}
static void hadd(hist *h, int64_t ns) {
  uint64_t v = ns < 0 ? 0 : ns / 100;
  h->b[hidx(v)]++;
  h->n++;
  h->sum += v;
  if (v > h->max) h->max = v;
}
static double hq(hist *h, double q) {
  uint64_t k = q * h->n, a = 0;
  for (int i = 0; i < HN; i++) {
    a += h->b[i];
    if (a > k) return hval(i) / 10.0;
  }
  return h->max / 10.0;
}
static void hprint(const char *name, hist *h) {
  printf(",\"%s_us\":{\"n\":%lu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,"
         "\"max\":%.1f}",
         name, h->n, h->n ? h->sum / h->n / 10 : 0, hq(h, .5), hq(h, .9), hq(h, .99), hq(h, .999),
         h->max / 10.0);
}
static hist h_lat, h_ttfb, h_ev, h_un;

enum { HOLD_AHEAD = 64 };
enum { C_OFF, C_CONNECTING, C_IDLE, C_BUSY };
enum { P_HEAD, P_LEN, P_CHUNK_HDR, P_CHUNK_DATA, P_CHUNK_END, P_TRAILER, P_EOF };
typedef struct {
  int fd, st, ps, got_first, close, status;
  size_t sent;
  char head[8192];
  size_t head_len;
  int64_t left;
  char line[1024];
  size_t line_len;
  char ch[32];
  int ch_len;
  int64_t t0;
  long events;
  int last_seen, once_done, stream;
  char *req;
  size_t req_len;
  char *talk; /* mixed: the conversation, whole */
  int turn, begun;
  long leave_at; /* events after which the client leaves; 0: it stays */
} conn;

static conn *C;
static int nc = 32, ep, port = 9100, mode_stream, once, hold, mixed, finishing;
static double dur = 5, warm = 1, rate, ramp = 2000;
static char *req;
static size_t req_len, req_head_len;
static struct sockaddr_in addr;
static uint64_t n_ok, n_err, n_non200, n_bytes, n_events, n_all_events, n_streams, n_deltas,
    n_incomplete, n_started, n_done, n_left, n_sent, n_first;
static int last_status;
static int64_t t_start, t_meas, t_end;
static int open_now, max_open;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static void die(const char *m) {
  perror(m);
  exit(1);
}

static void set_events(conn *c, int out) {
  struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.u32 = c - C};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void do_connect(conn *c) {
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(c->fd, (void *)&addr, sizeof addr) && errno != EINPROGRESS) die("connect");
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.u32 = c - C};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
  c->st = C_CONNECTING;
}

static void fail(conn *c) {
  n_err++;
  if (c->stream && c->st == C_BUSY) {
    n_incomplete++;
    open_now--;
  }
  close(c->fd);
  c->st = C_OFF;
  c->once_done = once;
}

static int push(conn *c) {
  while (c->sent < c->req_len) {
    ssize_t w = send(c->fd, c->req + c->sent, c->req_len - c->sent, MSG_NOSIGNAL);
    if (w < 0) {
      if (errno == EAGAIN) {
        set_events(c, 1);
        return 0;
      }
      fail(c);
      return -1;
    }
    c->sent += w;
  }
  return 1;
}

/* where the body has MARK, and the number that stands there next */
static const char MARK[] = "@@@@@@@@@@@@";
static size_t *marks, n_marks;
static uint64_t stamp_next;

static void find_marks(size_t from, size_t to) {
  char *p = req + from, *e = req + to;
  while ((p = memmem(p, e - p, MARK, sizeof MARK - 1))) {
    marks = realloc(marks, (n_marks + 1) * sizeof *marks);
    marks[n_marks++] = p - req;
    p += sizeof MARK - 1;
  }
  stamp_next = now_ns() / 1000; /* so that no two runs share a number */
}

static void stamp(char *to) {
  char digits[32];
  if (!n_marks) return;
  snprintf(digits, sizeof digits, "%012llx", (unsigned long long)(stamp_next++ & 0xffffffffffff));
  for (size_t i = 0; i < n_marks; i++)
    memcpy(to + marks[i], digits, sizeof MARK - 1);
}

/* mixed: the next turn of a client's conversation */
static char mixed_head[12288];
static size_t mixed_len, *cuts, n_cuts;
static int streams_pct = 90, leave_pct;
static uint32_t dice = 7;
static const char *TAIL[] = {",\"cache_control\":{\"type\":\"ephemeral\"}}]}],\"max_tokens\":%d}",
                             ",\"cache_control\":{\"type\":\"ephemeral\"}}]}],\"max_tokens\":%d,"
                             "\"stream\":true}"};
enum { MIXED_EVENTS = 60 };

static uint32_t roll(uint32_t n) {
  dice = dice * 1664525 + 1013904223;
  return (dice >> 8) % n;
}

static void next_turn(conn *c) {
  char tail[128];
  if (!c->talk) {
    c->talk = malloc(mixed_len);
    c->req = malloc(mixed_len + sizeof mixed_head + sizeof tail + 64);
    c->turn = (c - C) * n_cuts / nc; /* they are not all at the same turn */
  }
  if (!c->begun || c->turn >= (int)n_cuts) {
    if (c->begun) c->turn = 0;
    c->begun = 1;
    memcpy(c->talk, req, mixed_len);
    stamp(c->talk);
  }
  size_t cut = cuts[c->turn++];
  c->stream = (int)roll(100) < streams_pct;
  c->leave_at = c->stream && (int)roll(100) < leave_pct ? 1 + roll(MIXED_EVENTS) : 0;
  size_t n = snprintf(tail, sizeof tail, TAIL[c->stream], MIXED_EVENTS);
  size_t h = sprintf(c->req, "%sContent-Length: %zu\r\n\r\n", mixed_head, cut + n);
  memcpy(c->req + h, c->talk, cut);
  memcpy(c->req + h + cut, tail, n);
  c->req_len = h + cut + n;
}

static void start(conn *c, int64_t t0) {
  if (mixed)
    next_turn(c);
  else {
    stamp(req);
    c->stream = mode_stream;
    c->req = req;
    c->req_len = req_len;
  }
  n_sent += c->req_len;
  c->st = C_BUSY;
  c->ps = P_HEAD;
  c->head_len = 0;
  c->sent = 0;
  c->got_first = 0;
  c->line_len = 0;
  c->t0 = t0;
  c->events = 0;
  c->last_seen = 0;
  c->close = 0;
  n_started++;
  if (c->stream && ++open_now > max_open) max_open = open_now;
  push(c);
}

static void finish(conn *c, int64_t t) {
  n_done++;
  if (t >= t_meas && t <= t_end) {
    if (c->status == 200 && (!c->stream || c->last_seen)) {
      n_ok++;
      hadd(mixed && !c->stream ? &h_un : &h_lat, t - c->t0);
    } else {
      n_non200++;
      last_status = c->status;
    }
    if (c->stream) n_streams++;
  }
  if (c->stream) {
    open_now--;
    if (!c->last_seen) n_incomplete++;
  }
  if (once) c->once_done = 1;
  if (c->close) {
    close(c->fd);
    c->st = C_OFF;
  } else
    c->st = C_IDLE;
}

static void feed(conn *c, const char *p, size_t n, int64_t t) {
  if (t >= t_meas && t <= t_end) n_bytes += n;
  if (!c->stream) return;
  const char *e = p + n;
  while (p < e) {
    const char *nl = memchr(p, '\n', e - p);
    size_t k = (nl ? nl : e) - p;
    if (c->line_len + k < sizeof c->line) {
      memcpy(c->line + c->line_len, p, k);
      c->line_len += k;
    }
    if (!nl) return;
    p = nl + 1;
    c->line[c->line_len] = 0;
    if (c->line_len > 20 && c->line[0] == 'd' && !memcmp(c->line, "data:", 5)) {
      int in = t >= t_meas && t <= t_end;
      if (in) n_events++;
      n_all_events++;
      c->events++;
      char *q = strstr(c->line, "\"t=");
      if (q) {
        if (in) {
          n_deltas++;
          hadd(&h_ev, t - atoll(q + 3));
        }
      } else if (strstr(c->line, "message_stop"))
        c->last_seen = 1;
    }
    c->line_len = 0;
  }
}

/* the client has had enough, and is gone */
static int leaves(conn *c) {
  if (!c->leave_at || c->events < c->leave_at || c->last_seen) return 0;
  n_left++;
  open_now--;
  close(c->fd);
  c->st = C_OFF;
  return 1;
}

static void on_data(conn *c, char *p, size_t n, int64_t t) {
  char *e = p + n;
  if (c->ps == P_HEAD) {
    size_t k = n;
    if (c->head_len + k > sizeof c->head - 1) k = sizeof c->head - 1 - c->head_len;
    memcpy(c->head + c->head_len, p, k);
    size_t old = c->head_len;
    c->head_len += k;
    c->head[c->head_len] = 0;
    char *h = strstr(c->head, "\r\n\r\n");
    if (!h) {
      if (c->head_len >= sizeof c->head - 1) fail(c);
      return;
    }
    h += 4;
    p += (h - c->head) - old;
    c->status = atoi(c->head + 9);
    h[-2] = 0;
    if (c->status == 100) {
      c->head_len = 0;
      if (p < e) on_data(c, p, e - p, t);
      return;
    }
    char *v;
    c->ps = P_EOF;
    c->close = strcasestr(c->head, "\r\nconnection: close") != NULL;
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
      c->ps = P_CHUNK_HDR;
      c->ch_len = 0;
    } else if ((v = strcasestr(c->head, "\r\ncontent-length:"))) {
      c->ps = P_LEN;
      c->left = atoll(v + 17);
    }
    if (c->ps == P_EOF) c->close = 1;
    if (!c->stream && !mixed && t >= t_meas && t <= t_end) hadd(&h_ttfb, t - c->t0);
  }
  while (p < e && c->st == C_BUSY)
    switch (c->ps) {
    case P_LEN: {
      size_t k = (size_t)(e - p) < (size_t)c->left ? (size_t)(e - p) : (size_t)c->left;
      if (c->stream && !c->got_first) {
        c->got_first = 1;
        n_first++;
        if (t >= t_meas && t <= t_end) hadd(&h_ttfb, t - c->t0);
      }
      feed(c, p, k, t);
      if (leaves(c)) return;
      p += k;
      c->left -= k;
      if (!c->left) finish(c, t);
      break;
    }
    case P_CHUNK_HDR: {
      char ch = *p++;
      if (ch == '\n') {
        c->ch[c->ch_len] = 0;
        c->left = strtol(c->ch, NULL, 16);
        c->ch_len = 0;
        c->ps = c->left ? P_CHUNK_DATA : P_TRAILER;
      } else if (c->ch_len < 30)
        c->ch[c->ch_len++] = ch;
      break;
    }
    case P_CHUNK_DATA: {
      size_t k = (size_t)(e - p) < (size_t)c->left ? (size_t)(e - p) : (size_t)c->left;
      if (c->stream && !c->got_first) {
        c->got_first = 1;
        n_first++;
        if (t >= t_meas && t <= t_end) hadd(&h_ttfb, t - c->t0);
      }
      feed(c, p, k, t);
      if (leaves(c)) return;
      p += k;
      c->left -= k;
      if (!c->left) c->ps = P_CHUNK_END;
      break;
    }
    case P_CHUNK_END:
      if (*p++ == '\n') c->ps = P_CHUNK_HDR;
      break;
    case P_TRAILER:
      if (*p++ == '\n') finish(c, t);
      break;
    case P_EOF:
      feed(c, p, e - p, t);
      p = e;
      break;
    default:
      p = e;
    }
  if (c->st == C_BUSY && c->ps == P_LEN && !c->left) finish(c, t);
}

static char *slurp(const char *f, size_t *n) {
  FILE *fp = fopen(f, "rb");
  if (!fp) die(f);
  fseek(fp, 0, SEEK_END);
  *n = ftell(fp);
  rewind(fp);
  char *b = malloc(*n + 1);
  if (fread(b, 1, *n, fp) != *n) die(f);
  fclose(fp);
  b[*n] = 0;
  return b;
}

static void read_cuts(const char *f) {
  size_t n;
  if (!f) {
    fprintf(stderr, "mixed needs -C\n");
    exit(2);
  }
  char *text = slurp(f, &n), *line = strtok(text, "\n");
  for (; line; line = strtok(NULL, "\n")) {
    cuts = realloc(cuts, (n_cuts + 1) * sizeof *cuts);
    cuts[n_cuts++] = atol(line);
  }
  if (!n_cuts || cuts[n_cuts - 1] > mixed_len) {
    fprintf(stderr, "the cuts do not fit the body\n");
    exit(2);
  }
  free(text);
}

/* what the official client sends, but for its key */
static const char SDK_HEADERS[] = "accept: application/json\r\n"
                                  "accept-encoding: gzip, deflate\r\n"
                                  "content-type: application/json\r\n"
                                  "user-agent: Anthropic/Python 0.60.0\r\n"
                                  "x-stainless-lang: python\r\n"
                                  "x-stainless-package-version: 0.60.0\r\n"
                                  "x-stainless-os: Linux\r\n"
                                  "x-stainless-arch: x64\r\n"
                                  "x-stainless-runtime: CPython\r\n"
                                  "x-stainless-runtime-version: 3.11.7\r\n"
                                  "x-stainless-async: false\r\n"
                                  "x-stainless-retry-count: 0\r\n"
                                  "x-stainless-read-timeout: 600\r\n"
                                  "x-stainless-timeout: 600\r\n"
                                  "anthropic-version: 2023-06-01\r\n"
                                  "connection: keep-alive\r\n";

int main(int argc, char **argv) {
  const char *path = "/v1/messages", *bf = NULL, *cf = NULL, *host = "127.0.0.1", *key = "sk-bench";
  char extra[8192] = "";
  int o, bare = 0, fresh = 0;
  if (argc < 2) {
    fprintf(stderr, "usage: loadgen unary|stream|hold|mixed [options], see the head of loadgen.c\n");
    return 2;
  }
  mixed = !strcmp(argv[1], "mixed");
  mode_stream = strcmp(argv[1], "unary") != 0;
  hold = !strcmp(argv[1], "hold");
  if (hold) once = 1;
  optind = 2;
  while ((o = getopt(argc, argv, "p:c:d:w:r:R:b:P:X:1Buk:C:S:A:F")) != -1)
    switch (o) {
    case 'p':
      port = atoi(optarg);
      break;
    case 'c':
      nc = atoi(optarg);
      break;
    case 'd':
      dur = atof(optarg);
      break;
    case 'w':
      warm = atof(optarg);
      break;
    case 'r':
      rate = atof(optarg);
      break;
    case 'R':
      ramp = atof(optarg);
      break;
    case 'b':
      bf = optarg;
      break;
    case 'P':
      path = optarg;
      break;
    case 'k':
      key = optarg;
      break;
    case 'u':
      fresh = 1;
      break;
    case 'C':
      cf = optarg;
      break;
    case 'S':
      streams_pct = atoi(optarg);
      break;
    case 'A':
      leave_pct = atoi(optarg);
      break;
    case 'F':
      finishing = 1;
      break;
    case '1':
      once = 1;
      break;
    case 'B':
      bare = 1;
      break;
    case 'X':
      strncat(extra, optarg, sizeof extra - strlen(extra) - 3);
      strcat(extra, "\r\n");
      break;
    default:
      return 2;
    }
  if (!bf) {
    fprintf(stderr, "-b body.json is needed\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct rlimit rl;
  getrlimit(RLIMIT_NOFILE, &rl);
  rl.rlim_cur = rl.rlim_max;
  setrlimit(RLIMIT_NOFILE, &rl);
  size_t bn;
  char *b = slurp(bf, &bn);
  req = malloc(bn + 16384);
  char headers[2048] = "";
  snprintf(headers, sizeof headers, "%sx-api-key: %s\r\n", SDK_HEADERS, key);
  if (mixed) {
    snprintf(mixed_head, sizeof mixed_head, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%s%s", path, host,
             port, headers, extra);
    memcpy(req, b, mixed_len = bn);
    find_marks(0, bn);
    read_cuts(cf);
  } else
    req_head_len = sprintf(req, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%s%sContent-Length: %zu\r\n\r\n",
                           path, host, port, bare ? "" : headers, extra, bn);
  if (!mixed) {
    memcpy(req + req_head_len, b, bn);
    req_len = req_head_len + bn;
    if (fresh) find_marks(req_head_len, req_len);
  }
  addr.sin_family = AF_INET;
  addr.sin_port = htons(port);
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  C = calloc(nc, sizeof *C);
  ep = epoll_create1(0);
  static char buf[262144];
  static struct epoll_event evs[512];
  t_start = now_ns();
  t_meas = t_start + (int64_t)(warm * 1e9);
  t_end = t_meas + (int64_t)(dur * 1e9);
  int launched = 0, announced = 0;
  int64_t next_ix = 0, step = rate > 0 ? (int64_t)(1e9 / rate) : 0;
  int *idle = malloc(nc * sizeof(int)), idle_n = 0;
  struct rusage ru0;
  int ru_done = 0;
  memset(&ru0, 0, sizeof ru0);
  for (;;) {
    int64_t t = now_ns();
    if (t >= t_end) {
      int busy = 0;
      for (int i = 0; finishing && i < nc; i++)
        busy += C[i].st == C_BUSY;
      if (!busy || t > t_end + 20000000000) break;
    }
    if (!ru_done && t >= t_meas) {
      getrusage(RUSAGE_SELF, &ru0);
      ru_done = 1;
    }
    int want = (int)((t - t_start) / 1e9 * ramp) + 1;
    /* who is held is opened no faster than it is served */
    if (hold && want > (int)(n_first + n_err) + HOLD_AHEAD) want = n_first + n_err + HOLD_AHEAD;
    if (want > nc || !mode_stream) want = nc;
    while (launched < want) {
      do_connect(&C[launched]);
      launched++;
    }
    if (once && mode_stream) {
      int done = 1;
      for (int i = 0; i < nc && done; i++)
        if (!C[i].once_done) done = 0;
      if (done) break;
    }
    while (rate > 0 && t < t_end && idle_n && t_start + next_ix * step <= t) {
      conn *c = &C[idle[--idle_n]];
      start(c, t_start + next_ix * step);
      next_ix++;
      t = now_ns();
    }
    int64_t wait = t < t_end ? t_end - t : 50000000;
    if (!ru_done && t_meas - t < wait) wait = t_meas - t;
    if (rate > 0 && idle_n) {
      int64_t w = t_start + next_ix * step - t;
      if (w < wait) wait = w;
    }
    if (launched < nc && wait > 2000000) wait = 2000000;
    if (wait < 0) wait = 0;
    struct timespec ts = {wait / 1000000000, wait % 1000000000};
    int n = epoll_pwait2(ep, evs, 512, &ts, NULL);
    for (int i = 0; i < n; i++) {
      conn *c = &C[evs[i].data.u32];
      if (c->st == C_OFF) continue;
      if (c->st == C_CONNECTING) {
        int er = 0;
        socklen_t l = sizeof er;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &er, &l);
        if (er) {
          fail(c);
          if (!once) do_connect(c);
          continue;
        }
        set_events(c, 0);
        c->st = C_IDLE;
      } else if (evs[i].events & EPOLLOUT) {
        int r = push(c);
        if (r < 0) {
          do_connect(c);
          continue;
        }
        if (r == 1) set_events(c, 0);
      }
      if (evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t r = recv(c->fd, buf, sizeof buf, 0);
        if (r > 0)
          on_data(c, buf, r, now_ns());
        else if (r == 0 || errno != EAGAIN) {
          if (c->st == C_BUSY && c->ps == P_EOF && r == 0)
            finish(c, now_ns());
          else if (c->st == C_BUSY)
            fail(c);
          else {
            close(c->fd);
            c->st = C_OFF;
          }
        }
      }
      if (c->st == C_OFF && !(once && c->once_done) && t < t_end) {
        do_connect(c);
        continue;
      }
      if (c->st == C_IDLE && !(once && c->once_done) && t < t_end) {
        if (rate > 0)
          idle[idle_n++] = c - C;
        else
          start(c, now_ns());
        if (c->st == C_OFF && !once) do_connect(c);
      }
    }
    if (hold && !announced && open_now >= nc) {
      announced = 1;
      fprintf(stderr, "open %d\n", open_now);
    }
  }
  struct rusage ru;
  getrusage(RUSAGE_SELF, &ru);
  double el = (now_ns() - t_meas) / 1e9;
  if (el > dur) el = dur;
  double cpu =
      ru.ru_utime.tv_sec + ru.ru_stime.tv_sec - ru0.ru_utime.tv_sec - ru0.ru_stime.tv_sec +
      (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec - ru0.ru_utime.tv_usec - ru0.ru_stime.tv_usec) /
          1e6;
  printf("{\"mode\":\"%s\",\"conns\":%d,\"rate\":%.0f,\"secs\":%.3f,\"ok\":%lu,\"non200\":%lu,"
         "\"last_bad_status\":%d,\"errors\":%lu,\"rps\":%.1f,\"bytes\":%lu,\"client_cpu\":%.3f,"
         "\"started\":%lu,\"done\":%lu,\"left\":%lu,\"sent\":%lu",
         argv[1], nc, rate, el, n_ok, n_non200, last_status, n_err, n_ok / el, n_bytes, cpu / el,
         n_started, n_done, n_left, n_sent);
  if (mode_stream)
    printf(",\"streams\":%lu,\"incomplete\":%lu,\"events\":%lu,\"events_s\":%.0f,\"deltas\":%lu,"
           "\"max_open\":%d,\"all_events\":%lu",
           n_streams, n_incomplete, n_events, n_events / el, n_deltas, max_open, n_all_events);
  hprint("lat", &h_lat);
  hprint("ttfb", &h_ttfb);
  if (mode_stream) hprint("event", &h_ev);
  if (mixed) hprint("unary", &h_un);
  printf("}\n");
  return 0;
}
