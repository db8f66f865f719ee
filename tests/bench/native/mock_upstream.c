/* mock_upstream - a very fast fake of the Anthropic Messages API, for benchmarks.
 *
 * One thread, epoll, HTTP/1.1 keep-alive.  Listens on 127.0.0.1 only.
 *
 *   POST <any path>            body without "stream":true -> one JSON message (about 600 bytes)
 *   POST <any path>            body with    "stream":true -> SSE, chunked, one write() and one
 *                              chunk per event: message_start, content_block_start, ping,
 *                              N x content_block_delta, content_block_stop, message_delta,
 *                              message_stop
 *   GET  /_mock/stats          counters as JSON
 *   GET  /_mock/set?events=N&delay_us=D&ttft_us=T&use_max_tokens=0|1
 *   GET  /_mock/abandon        closes the connections of all streams that are open
 *
 * N (deltas per stream) is max_tokens of the request body (so that it survives any proxy), or
 * the configured number with -M.  delay_us is the time between two deltas: 0 sends as fast as
 * the socket takes them, still one write() per event, round robin over the streams.
 * Every delta carries "t=<CLOCK_MONOTONIC ns>", so a client on the same machine can tell how
 * long each event was under way.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

#define MAXFD 65536

enum { ST_READ, ST_WAIT, ST_STREAM };

typedef struct conn {
  int fd, state, want_out, queued, close_after;
  char *in;
  size_t in_len, in_cap;
  size_t head_len, body_len;
  int have_head, chunked, sent_continue;
  size_t scan;
  char *out;
  size_t out_off, out_len, out_cap;
  int64_t due;
  int heap_ix;
  int stage;
  long n, i;
  int is_stream;
} conn;

static conn *conns[MAXFD];
static int ep;
static long cfg_events = 100, cfg_delay_us = 0, cfg_ttft_us = 0;
static int cfg_use_max_tokens = 1;
static uint64_t st_requests, st_streams, st_events, st_accepted, st_open, st_aborted, st_bytes_in;
static uint64_t st_streams_open, st_streams_done;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- timer heap ---- */
static conn *heap[MAXFD];
static int heap_n;
static void hswap(int a, int b) {
  conn *t = heap[a];
  heap[a] = heap[b];
  heap[b] = t;
  heap[a]->heap_ix = a;
  heap[b]->heap_ix = b;
}
static void hup(int i) {
  while (i && heap[(i - 1) / 2]->due > heap[i]->due) {
    hswap(i, (i - 1) / 2);
    i = (i - 1) / 2;
  }
}
static void hdown(int i) {
  for (;;) {
    int l = 2 * i + 1, m = i;
    if (l < heap_n && heap[l]->due < heap[m]->due) m = l;
    if (l + 1 < heap_n && heap[l + 1]->due < heap[m]->due) m = l + 1;
    if (m == i) return;
    hswap(i, m);
    i = m;
  }
}
static void hpush(conn *c, int64_t due) {
  c->due = due;
  c->heap_ix = heap_n;
  heap[heap_n++] = c;
  hup(c->heap_ix);
}
static void hdel(conn *c) {
  int i = c->heap_ix;
  if (i < 0) return;
  hswap(i, heap_n - 1);
  heap_n--;
  c->heap_ix = -1;
  if (i < heap_n) {
    hup(i);
    hdown(i);
  }
}

/* ---- full-speed run queue (round robin) ---- */
static conn *rq[MAXFD];
static int rq_n;

static const char HEADERS[] =
    "Date: Sat, 01 Mar 2025 12:00:00 GMT\r\n"
    "request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n"
    "anthropic-organization-id: 0f2b0c4e-0000-4000-8000-5a1c9c6e7d11\r\n"
    "anthropic-ratelimit-requests-limit: 4000\r\n"
    "anthropic-ratelimit-requests-remaining: 3999\r\n"
    "anthropic-ratelimit-requests-reset: 2025-03-01T12:00:01Z\r\n"
    "anthropic-ratelimit-input-tokens-limit: 400000\r\n"
    "anthropic-ratelimit-input-tokens-remaining: 399000\r\n"
    "anthropic-ratelimit-input-tokens-reset: 2025-03-01T12:00:01Z\r\n"
    "anthropic-ratelimit-output-tokens-limit: 80000\r\n"
    "anthropic-ratelimit-output-tokens-remaining: 79000\r\n"
    "anthropic-ratelimit-output-tokens-reset: 2025-03-01T12:00:01Z\r\n"
    "strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    "Via: 1.1 google\r\n"
    "cf-cache-status: DYNAMIC\r\n"
    "X-Robots-Tag: none\r\n"
    "Server: cloudflare\r\n"
    "CF-RAY: 91a2b3c4d5e6f708-FRA\r\n";

static const char UNARY_BODY[] =
    "{\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\",\"role\":\"assistant\","
    "\"model\":\"claude-sonnet-4-20250514\",\"content\":[{\"type\":\"text\",\"text\":\"The gateway "
    "forwards "
    "each request to the upstream, keeps the answer as it is, and records the number of tokens "
    "that were used. "
    "It does not change the order of the blocks, and it does not wait for the end of the answer "
    "before it "
    "passes on the first bytes.\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":"
    "{\"input_tokens\":412,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
    "\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0},"
    "\"output_tokens\":61,\"service_tier\":\"standard\"}}";

static char UNARY[4096];
static size_t UNARY_LEN;
static char SHEAD[4096];
static size_t SHEAD_LEN;

static void arm(conn *c) {
  struct epoll_event e = {.events = EPOLLIN | (c->want_out ? EPOLLOUT : 0), .data.fd = c->fd};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void close_conn(conn *c) {
  if (c->is_stream && c->state != ST_READ) {
    st_aborted++;
    st_streams_open--;
  }
  hdel(c);
  conns[c->fd] = NULL;
  close(c->fd);
  st_open--;
  if (c->queued) {
    c->fd = -1;
    return;
  } /* freed when the run queue meets it */
  free(c->in);
  free(c->out);
  free(c);
}

/* returns 0 when all was sent, 1 when some is left (EPOLLOUT armed), -1 when closed */
static int send_all(conn *c, const char *p, size_t n) {
  if (c->out_len == c->out_off) {
    ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (w < 0) {
      if (errno != EAGAIN) {
        close_conn(c);
        return -1;
      }
      w = 0;
    }
    if ((size_t)w == n) return 0;
    p += w;
    n -= w;
    c->out_off = c->out_len = 0;
  }
  if (c->out_len + n > c->out_cap) {
    c->out_cap = (c->out_len + n) * 2;
    c->out = realloc(c->out, c->out_cap);
  }
  memcpy(c->out + c->out_len, p, n);
  c->out_len += n;
  if (!c->want_out) {
    c->want_out = 1;
    arm(c);
  }
  return 1;
}

static size_t put_chunk(char *dst, const char *s, size_t n) {
  int h = sprintf(dst, "%zx\r\n", n);
  memcpy(dst + h, s, n);
  memcpy(dst + h + n, "\r\n", 2);
  return h + n + 2;
}

static void process_input(conn *c);

static void finish_request(conn *c) {
  if (c->is_stream) {
    st_streams_open--;
    st_streams_done++;
  }
  c->is_stream = 0;
  c->state = ST_READ;
  if (c->close_after) {
    if (c->out_len == c->out_off) {
      shutdown(c->fd, SHUT_WR);
    }
  }
}

static void enqueue(conn *c) {
  if (!c->queued) {
    c->queued = 1;
    rq[rq_n++] = c;
  }
}

/* sends the next event; returns 0 to go on, 1 blocked, 2 finished, -1 closed */
static int next_event(conn *c) {
  char ev[768], buf[4608];
  size_t n, l = 0;
  int r;
  switch (c->stage) {
  case 0:
    n = snprintf(ev, sizeof ev,
                 "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":"
                 "\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\",\"role\":\"assistant\","
                 "\"model\":\"claude-sonnet-4-20250514\","
                 "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_"
                 "tokens\":412,"
                 "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_"
                 "tokens\":1,\"service_tier\":\"standard\"}}}\n\n");
    memcpy(buf, SHEAD, SHEAD_LEN);
    l = SHEAD_LEN;
    c->stage = 1;
    break;
  case 1:
    n = snprintf(ev, sizeof ev,
                 "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
                 "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    c->stage = 2;
    break;
  case 2:
    n = snprintf(ev, sizeof ev, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
    c->stage = c->n > 0 ? 3 : 4;
    break;
  case 3:
    n = snprintf(ev, sizeof ev,
                 "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
                 "\"delta\":{\"type\":\"text_delta\",\"text\":\"t=%016lld \"}}\n\n",
                 (long long)now_ns());
    if (++c->i >= c->n) {
      c->stage = 4;
    }
    break;
  case 4:
    n = snprintf(
        ev, sizeof ev,
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
    c->stage = 5;
    break;
  case 5:
    n = snprintf(
        ev, sizeof ev,
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
        "\"end_turn\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":412,\"cache_creation_"
        "input_tokens\":0,"
        "\"cache_read_input_tokens\":0,\"output_tokens\":%ld}}\n\n",
        c->n);
    c->stage = 6;
    break;
  case 6:
    n = snprintf(ev, sizeof ev, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    c->stage = 7;
    break;
  default:
    if ((r = send_all(c, "0\r\n\r\n", 5)) < 0) return -1;
    finish_request(c);
    return 2;
  }
  l += put_chunk(buf + l, ev, n);
  st_events++;
  r = send_all(c, buf, l);
  return r;
}

static void stream_step(conn *c) { /* one event, then schedule the next */
  int stage = c->stage, r = next_event(c);
  if (r < 0) return;
  if (r == 2) {
    process_input(c);
    return;
  }
  if (r == 1) return; /* goes on at EPOLLOUT */
  if (stage == 2 || stage == 3) {
    if (cfg_delay_us && c->stage == 3) {
      hpush(c, now_ns() + cfg_delay_us * 1000);
      return;
    }
  }
  enqueue(c);
}

static void start_response(conn *c) {
  if (c->is_stream) {
    c->state = ST_STREAM;
    stream_step(c);
    return;
  }
  if (send_all(c, UNARY, UNARY_LEN) < 0) return;
  finish_request(c);
  process_input(c);
}

static long body_num(const char *b, size_t n, const char *key, long dflt) {
  const char *p = memmem(b, n, key, strlen(key)), *e = b + n;
  if (!p) return dflt;
  p += strlen(key);
  while (p < e && (*p == ' ' || *p == ':'))
    p++;
  return p < e && *p >= '0' && *p <= '9' ? strtol(p, NULL, 10) : dflt;
}

static int body_stream(const char *b, size_t n) {
  const char *e = b + n, *p = b;
  while ((p = memmem(p, e - p, "\"stream\"", 8))) {
    p += 8;
    while (p < e && (*p == ' ' || *p == ':'))
      p++;
    if (e - p >= 4 && !memcmp(p, "true", 4)) return 1;
  }
  return 0;
}

static long qnum(const char *h, const char *key, long dflt) {
  const char *p = strstr(h, key);
  const char *eol = strchr(h, '\r');
  return p && p < eol ? atol(p + strlen(key)) : dflt;
}

static int admin(conn *c) {
  char body[1024], out[1400];
  int n;
  c->in[c->head_len - 1] = 0;
  if (strstr(c->in, "/_mock/set?")) {
    cfg_events = qnum(c->in, "events=", cfg_events);
    cfg_delay_us = qnum(c->in, "delay_us=", cfg_delay_us);
    cfg_ttft_us = qnum(c->in, "ttft_us=", cfg_ttft_us);
    cfg_use_max_tokens = qnum(c->in, "use_max_tokens=", cfg_use_max_tokens);
  }
  if (strstr(c->in, "/_mock/abandon"))
    for (int fd = 0; fd < MAXFD; fd++)
      if (conns[fd] && conns[fd] != c && conns[fd]->is_stream && conns[fd]->state != ST_READ)
        close_conn(conns[fd]);
  n = snprintf(
      body, sizeof body,
      "{\"requests\":%lu,\"streams\":%lu,\"streams_open\":%lu,\"streams_done\":%lu,\"aborted\":%lu,"
      "\"events\":%lu,\"accepted\":%lu,\"open\":%lu,\"bytes_in\":%lu,\"cfg\":{\"events\":%ld,"
      "\"delay_us\":%ld,\"ttft_us\":%ld}}\n",
      st_requests, st_streams, st_streams_open, st_streams_done, st_aborted, st_events, st_accepted,
      st_open, st_bytes_in, cfg_events, cfg_delay_us, cfg_ttft_us);
  n = snprintf(out, sizeof out,
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
               n, body);
  return send_all(c, out, n);
}

static const char *hfind(const char *h, size_t n,
                         const char *name) { /* name as "\r\nname:" in lower case */
  size_t l = strlen(name);
  for (const char *p = h; (p = memchr(p, '\r', h + n - p)); p++)
    if ((size_t)(h + n - p) >= l && !strncasecmp(p, name, l)) {
      p += l;
      while (*p == ' ')
        p++;
      return p;
    }
  return NULL;
}

/* decodes a chunked request body in place from c->scan; 1 = complete, 0 = need more, -1 = bad */
static int dechunk(conn *c, size_t *consumed) {
  for (;;) {
    char *base = c->in + c->scan, *e = c->in + c->in_len, *nl = memchr(base, '\n', e - base);
    if (!nl) return 0;
    char *endp;
    size_t sz = strtoul(base, &endp, 16);
    if (endp == base) return -1;
    char *data = nl + 1;
    if (sz == 0) {
      if (e - data < 2) return 0;
      *consumed = data + 2 - c->in;
      return 1;
    }
    if ((size_t)(e - data) < sz + 2) return 0;
    memmove(c->in + c->head_len + c->body_len, data, sz);
    c->body_len += sz;
    c->scan = data + sz + 2 - c->in;
  }
}

static void process_input(conn *c) {
  while (c->state == ST_READ) {
    if (!c->have_head) {
      char *e = c->in_len >= 4 ? memmem(c->in, c->in_len, "\r\n\r\n", 4) : NULL;
      if (!e) return;
      c->head_len = e + 4 - c->in;
      c->have_head = 1;
      c->body_len = 0;
      c->chunked = 0;
      c->scan = c->head_len;
      c->sent_continue = 0;
      const char *v = hfind(c->in, c->head_len, "\r\ncontent-length:");
      if (v)
        c->body_len = strtoul(v, NULL, 10);
      else if ((v = hfind(c->in, c->head_len, "\r\ntransfer-encoding:")))
        c->chunked = 1;
      v = hfind(c->in, c->head_len, "\r\nconnection:");
      c->close_after = v && !strncasecmp(v, "close", 5);
      if (hfind(c->in, c->head_len, "\r\nexpect:")) {
        if (send_all(c, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0) return;
      }
    }
    size_t total;
    if (c->chunked) {
      int r = dechunk(c, &total);
      if (r < 0) {
        close_conn(c);
        return;
      }
      if (!r) return;
    } else {
      total = c->head_len + c->body_len;
      if (c->in_len < total) return;
    }
    int is_admin = memmem(c->in, c->head_len < 64 ? c->head_len : 64, " /_mock/", 8) != NULL, r = 0;
    if (!is_admin) {
      const char *b = c->in + c->head_len;
      st_requests++;
      st_bytes_in += c->body_len;
      c->is_stream = body_stream(b, c->body_len);
      if (c->is_stream) {
        st_streams++;
        st_streams_open++;
        c->stage = 0;
        c->i = 0;
        c->n = cfg_use_max_tokens ? body_num(b, c->body_len, "\"max_tokens\"", cfg_events)
                                  : cfg_events;
      }
      c->state = ST_WAIT;
    } else
      r = admin(c);
    if (r < 0) return;
    memmove(c->in, c->in + total, c->in_len - total);
    c->in_len -= total;
    c->have_head = 0;
    if (is_admin) continue;
    if (cfg_ttft_us) {
      hpush(c, now_ns() + cfg_ttft_us * 1000);
      return;
    }
    start_response(c);
    return;
  }
}

static void on_readable(conn *c) {
  for (;;) {
    if (c->in_cap - c->in_len < 32768) {
      c->in_cap = c->in_cap ? c->in_cap * 2 : 40960;
      if (c->in_cap < c->in_len + 32768) {
        c->in_cap = c->in_len + 65536;
      }
      c->in = realloc(c->in, c->in_cap);
    }
    ssize_t r = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, MSG_DONTWAIT);
    if (r == 0) {
      close_conn(c);
      return;
    }
    if (r < 0) {
      if (errno == EAGAIN) return;
      close_conn(c);
      return;
    }
    int full = (size_t)r == c->in_cap - c->in_len;
    c->in_len += r;
    if (full) continue;
    /* keep reading large bodies without rescanning */
    if (c->state == ST_READ &&
        (!c->have_head || c->chunked || c->in_len >= c->head_len + c->body_len))
      process_input(c);
    return;
  }
}

static void on_writable(conn *c) {
  while (c->out_off < c->out_len) {
    ssize_t w =
        send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (w < 0) {
      if (errno != EAGAIN) close_conn(c);
      return;
    }
    c->out_off += w;
  }
  c->out_off = c->out_len = 0;
  c->want_out = 0;
  arm(c);
  if (c->state == ST_STREAM) {
    if (cfg_delay_us && c->stage == 3)
      hpush(c, now_ns() + cfg_delay_us * 1000);
    else
      enqueue(c);
  } else if (c->state == ST_READ)
    process_input(c);
}

int main(int argc, char **argv) {
  int port = 9100, o;
  while ((o = getopt(argc, argv, "p:n:d:t:M")) != -1)
    switch (o) {
    case 'p':
      port = atoi(optarg);
      break;
    case 'n':
      cfg_events = atol(optarg);
      break;
    case 'd':
      cfg_delay_us = atol(optarg);
      break;
    case 't':
      cfg_ttft_us = atol(optarg);
      break;
    case 'M':
      cfg_use_max_tokens = 0;
      break;
    default:
      fprintf(
          stderr,
          "usage: %s [-p port] [-n events] [-d delay_us] [-t ttft_us] [-M (ignore max_tokens)]\n",
          argv[0]);
      return 2;
    }
  signal(SIGPIPE, SIG_IGN);
  struct rlimit rl;
  getrlimit(RLIMIT_NOFILE, &rl);
  rl.rlim_cur = rl.rlim_max;
  setrlimit(RLIMIT_NOFILE, &rl);
  UNARY_LEN = snprintf(
      UNARY, sizeof UNARY,
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
      sizeof UNARY_BODY - 1, HEADERS, UNARY_BODY);
  SHEAD_LEN = snprintf(SHEAD, sizeof SHEAD,
                       "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                       "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n%s\r\n",
                       HEADERS);
  int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) {
    perror("bind/listen");
    return 1;
  }
  ep = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = ls};
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
  fprintf(stderr, "mock_upstream on 127.0.0.1:%d\n", port);
  static struct epoll_event evs[1024];
  static conn *cur[MAXFD];
  for (;;) {
    struct timespec ts = {0, 0}, *tp = NULL;
    if (rq_n)
      tp = &ts;
    else if (heap_n) {
      int64_t d = heap[0]->due - now_ns();
      if (d < 0) d = 0;
      ts.tv_sec = d / 1000000000;
      ts.tv_nsec = d % 1000000000;
      tp = &ts;
    }
    int n = epoll_pwait2(ep, evs, 1024, tp, NULL);
    for (int i = 0; i < n; i++) {
      int fd = evs[i].data.fd;
      if (fd == ls) {
        for (int k = 0; k < 64; k++) {
          int s = accept4(ls, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (s < 0) break;
          if (s >= MAXFD) {
            close(s);
            continue;
          }
          setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          conn *c = calloc(1, sizeof *c);
          c->fd = s;
          c->heap_ix = -1;
          conns[s] = c;
          st_accepted++;
          st_open++;
          struct epoll_event ce = {.events = EPOLLIN, .data.fd = s};
          epoll_ctl(ep, EPOLL_CTL_ADD, s, &ce);
        }
        continue;
      }
      conn *c = conns[fd];
      if (!c) continue;
      if (evs[i].events & EPOLLOUT) {
        on_writable(c);
        if (conns[fd] != c) continue;
      }
      if (evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
    }
    if (heap_n) {
      int64_t t = now_ns();
      while (heap_n && heap[0]->due <= t) {
        conn *c = heap[0];
        hdel(c);
        if (c->state == ST_WAIT)
          start_response(c);
        else if (c->state == ST_STREAM)
          stream_step(c);
      }
    }
    int m = rq_n;
    memcpy(cur, rq, m * sizeof *rq);
    rq_n = 0;
    for (int i = 0; i < m; i++) {
      conn *c = cur[i];
      c->queued = 0;
      if (c->fd < 0) {
        free(c->in);
        free(c->out);
        free(c);
        continue;
      }
      if (c->state == ST_STREAM) stream_step(c);
    }
  }
}
