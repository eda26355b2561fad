package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"zeropass.dev/zeropass/internal/entropy"
	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

const (
	// countPause is how old the number of accounts may be: counting them takes a
	// while where there are many.
	countPause = 10 * time.Minute
	// countTime is how long counting may take.
	countTime = 30 * time.Second
)

// metrics are what an operator sees of the server. Labels come from fixed lists:
// procedures, reasons, sources that the operator named.
type metrics struct {
	registry       *prometheus.Registry
	requests       *prometheus.CounterVec
	took           *prometheus.HistogramVec
	reads, changes transactions
}

// transactions are those of the store of one kind. They are so many that to look for
// them by their labels takes noticeable time.
type transactions struct {
	ok, refused, failed prometheus.Counter
	took                prometheus.Observer
}

func newMetrics() *metrics {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "zeropass_store_transactions_total", Help: "Transactions of the store, by kind (read, change) and result: ok, refused (by a rule of the store), failed (by the database).",
	}, []string{"kind", "result"})
	stored := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "zeropass_store_transaction_duration_seconds", Help: "How long transactions took, until they were durable.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"kind"})
	of := func(kind string) transactions {
		return transactions{
			ok: results.WithLabelValues(kind, "ok"), refused: results.WithLabelValues(kind, "refused"), failed: results.WithLabelValues(kind, "failed"),
			took: stored.WithLabelValues(kind),
		}
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zeropass_requests_total", Help: "Requests that were answered, by procedure and by how they ended.",
		}, []string{"procedure", "reason"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "zeropass_request_duration_seconds", Help: "How long answers took, streams not among them.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"procedure"}),
		reads: of("read"), changes: of("change"),
	}
	m.registry.MustRegister(m.requests, m.took, results, stored,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "zeropass_build_info", Help: "The program's version; always 1.", ConstLabels: prometheus.Labels{"version": programVersion()},
		}, func() float64 { return 1 }))
	return m
}

// request counts a request.
func (m *metrics) request(o server.Outcome) {
	m.requests.WithLabelValues(o.Procedure, o.Reason).Inc()
	if !o.Stream {
		m.took.WithLabelValues(o.Procedure).Observe(o.Took.Seconds())
	}
}

// refusals are the answers of a store that works.
var refusals = []error{
	store.ErrNotFound, store.ErrAccountExists, store.ErrNameTaken, store.ErrHeadMoved, store.ErrReplayed,
	store.ErrFull, store.ErrOpen, store.ErrOtherServer, store.ErrToken, store.ErrUnknownDelivery, context.Canceled,
}

// transaction counts a transaction of the store.
func (m *metrics) transaction(change bool, took time.Duration, err error) {
	of := &m.reads
	if change {
		of = &m.changes
	}
	result := of.ok
	if err != nil {
		result = of.failed
		var limit *store.LimitError
		if errors.As(err, &limit) {
			result = of.refused
		}
		for _, refusal := range refusals {
			if errors.Is(err, refusal) {
				result = of.refused
			}
		}
	}
	result.Inc()
	of.took.Observe(took.Seconds())
}

// watched is what is asked at each scrape.
type watched struct {
	server       *server.Server
	health       *health
	certificates *certificates // nil without TLS

	mu       sync.Mutex
	accounts uint64
	counted  time.Time
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	underWayDesc  = describe("zeropass_requests_in_flight", "Requests that are being answered, streams not among them.")
	queuedDesc    = describe("zeropass_requests_queued", "Requests that wait for a place, by class: urgent, daily, reveal, bulk.", "class")
	admittedDesc  = describe("zeropass_requests_admitted_total", "Requests that got a place, by class.", "class")
	shedDesc      = describe("zeropass_requests_shed_total", "Requests that were refused because the server had too much to do, by class.", "class")
	streamsDesc   = describe("zeropass_streams", "Open streams of hints.")
	behindDesc    = describe("zeropass_changes_behind_seconds", "How long ago this server last saw what other servers change; 0 while it has no streams.")
	readyDesc     = describe("zeropass_ready", "1 if /readyz says so.")
	soundDesc     = describe("zeropass_entropy_source_sound", "1 if a source of randomness is sound, 0 if it failed or is not there.", "source")
	outboxDesc    = describe("zeropass_outbox_deliveries", "Alarms that wait to be delivered.")
	oldestDesc    = describe("zeropass_outbox_oldest_age_seconds", "Age of the oldest of them; 0 if none waits.")
	commitsDesc   = describe("zeropass_store_commits_total", "Commits that have made changes of the store durable. Changes that are made at the same time may share one.")
	accountsDesc  = describe("zeropass_accounts", "Accounts, counted every ten minutes.")
	expiresDesc   = describe("zeropass_certificate_expiry_timestamp_seconds", "When the certificate that is served expires.")
	watchedDescs  = []*prometheus.Desc{underWayDesc, queuedDesc, admittedDesc, shedDesc, streamsDesc, behindDesc, readyDesc, soundDesc, outboxDesc, oldestDesc, commitsDesc, accountsDesc, expiresDesc}
	_             = prometheus.Collector(&watched{})
	scrapeTimeout = 10 * time.Second
)

// Describe implements [prometheus.Collector].
func (w *watched) Describe(out chan<- *prometheus.Desc) {
	for _, d := range watchedDescs {
		out <- d
	}
}

// Collect implements [prometheus.Collector]. What the store does not say is left
// out.
func (w *watched) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	gauge(underWayDesc, float64(w.server.UnderWay()))
	for _, a := range w.server.Admissions() {
		gauge(queuedDesc, float64(a.Queued), a.Class)
		out <- prometheus.MustNewConstMetric(admittedDesc, prometheus.CounterValue, float64(a.Admitted), a.Class)
		out <- prometheus.MustNewConstMetric(shedDesc, prometheus.CounterValue, float64(a.Shed), a.Class)
	}
	gauge(streamsDesc, float64(w.server.Streams()))
	gauge(readyDesc, number(len(w.health.check(ctx)) == 0))
	if w.certificates != nil {
		if expires := w.certificates.expires(); !expires.IsZero() {
			gauge(expiresDesc, float64(expires.Unix()))
		}
	}
	if w.health.store != nil {
		w.collectData(ctx, out, gauge)
	}
}

// collectData says what there is where the server has not moved from.
func (w *watched) collectData(ctx context.Context, out chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	out <- prometheus.MustNewConstMetric(commitsDesc, prometheus.CounterValue, float64(w.health.store.Commits()))
	if follows, behind := w.server.Follows(); follows {
		gauge(behindDesc, behind.Seconds())
	}
	for source, sound := range soundSources(w.health.sources.Status()) {
		gauge(soundDesc, number(sound), source)
	}
	if backlog, err := w.health.store.Backlog(ctx); err == nil {
		age := 0.0
		if backlog.Deliveries > 0 {
			age = max(0, time.Since(backlog.Oldest).Seconds())
		}
		gauge(outboxDesc, float64(backlog.Deliveries))
		gauge(oldestDesc, age)
	}
	if n, ok := w.countAccounts(); ok {
		gauge(accountsDesc, float64(n))
	}
}

// soundSources names each source once: the operator may have given one twice.
func soundSources(list []entropy.Status) map[string]bool {
	sources := map[string]bool{}
	for _, s := range list {
		before, twice := sources[s.String()]
		sources[s.String()] = s.Sound && (before || !twice)
	}
	return sources
}

func (w *watched) countAccounts() (uint64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.counted) < countPause {
		return w.accounts, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTime)
	defer cancel()
	n, err := w.health.store.CountAccounts(ctx)
	if err != nil {
		return 0, false
	}
	w.accounts, w.counted = n, time.Now()
	return n, true
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
