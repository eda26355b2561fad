package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/signing"
)

// Call is one request, signed, and what its answer must be.
type Call struct {
	Procedure string
	Request   *apiv1.SignedRequest
	Hash      [32]byte
	// Check reads the answer; or, if Refused is not zero, the server must refuse
	// for that reason.
	Check   func(*apiv1.SignedAnswer) error
	Refused api.Reason
}

// Task is what one client does: calls, one after the other.
type Task []Call

// done is a task that was sent.
type done struct {
	task    Task
	answers []*apiv1.SignedAnswer
	errs    []error
	took    time.Duration
	late    time.Duration // how much later than intended it was begun
}

// pause is how long a client waits that was refused because the server is busy: the
// second that the server asks for.
const pause = time.Second

// busy says whether the server had no time; whether it was really the server that
// said so is looked at later.
func (o *done) busy() bool {
	return connect.CodeOf(o.errs[len(o.errs)-1]) == connect.CodeUnavailable
}

// Result is what was measured of many tasks.
type Result struct {
	Tasks       int           // that were answered
	Shed        int           // that the server refused because it is busy
	Elapsed     time.Duration // from the first request to the last answer
	CPU         time.Duration // of the server
	DatabaseCPU time.Duration // of PostgreSQL
	Commits     float64       // durable ones of the database
	Bytes       int64         // by which the database grew
	Curve       Curve         // bare operations meanwhile, if they were measured
	took        []time.Duration
	late        []time.Duration
}

// Measure has the server do something else, of which there are so many.
func (d *Driver) Measure(ctx context.Context, count int, do func() error) (*Result, error) {
	begun, err := d.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	r, err := d.end(ctx, begun)
	if err != nil {
		return nil, err
	}
	r.Tasks = count
	return r, nil
}

// Add adds what was done and used in another run, without its latencies.
func (r *Result) Add(other *Result) {
	r.Tasks += other.Tasks
	r.Elapsed += other.Elapsed
	r.CPU += other.CPU
	r.DatabaseCPU += other.DatabaseCPU
	r.Commits += other.Commits
	r.Bytes += other.Bytes
}

// PerSecond is the throughput.
func (r *Result) PerSecond() float64 { return float64(r.Tasks) / r.Elapsed.Seconds() }

// CPUPerTask is the server's processor time of one task.
func (r *Result) CPUPerTask() time.Duration {
	return time.Duration(float64(r.CPU) / float64(max(r.Tasks, 1)))
}

// DatabaseCPUPerTask is PostgreSQL's.
func (r *Result) DatabaseCPUPerTask() time.Duration {
	return time.Duration(float64(r.DatabaseCPU) / float64(max(r.Tasks, 1)))
}

// BytesPerTask is by how much one task let the database grow.
func (r *Result) BytesPerTask() float64 { return float64(r.Bytes) / float64(max(r.Tasks, 1)) }

// CommitsPerTask is how many durable commits one task took.
func (r *Result) CommitsPerTask() float64 { return r.Commits / float64(max(r.Tasks, 1)) }

// Percentile returns the latency that p percent of the answered tasks did not
// exceed (nearest rank).
func (r *Result) Percentile(p float64) time.Duration { return percentile(r.took, p) }

// Late returns by how much the load itself was late, likewise: if that is not small
// beside the latencies, they say more about the load than about the server.
func (r *Result) Late(p float64) time.Duration { return percentile(r.late, p) }

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(float64(len(sorted))*p/100)) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// Driver sends tasks to a server.
type Driver struct {
	server *Server
	key    *signing.PublicKey
	http   *http.Client

	exact bool // counts PostgreSQL's commits exactly, which takes time
	bare  bool // measures the bare curve operations beside runs

	mu  sync.Mutex
	rpc map[string]*connect.Client[apiv1.SignedRequest, apiv1.SignedAnswer]
}

// maxConnections is more than a server has under way at a time, so that it is the
// server that makes requests wait, or sheds them.
const maxConnections = 2048

func newDriver(s *Server, key *signing.PublicKey) *Driver {
	return &Driver{server: s, key: key, rpc: map[string]*connect.Client[apiv1.SignedRequest, apiv1.SignedAnswer]{},
		http: &http.Client{Transport: &http.Transport{
			MaxIdleConns: maxConnections, MaxIdleConnsPerHost: maxConnections, MaxConnsPerHost: maxConnections, DisableCompression: true,
		}}}
}

// Metrics returns the server's metrics, by name and labels as they are written.
func (d *Driver) Metrics(ctx context.Context) (map[string]float64, error) {
	return d.server.metrics(ctx)
}

// Profile is that of the server; see [Server.Profile].
func (d *Driver) Profile(ctx context.Context, to io.Writer, seconds int) error {
	return d.server.Profile(ctx, to, seconds)
}

// Exact makes runs from now on wait until PostgreSQL has told how often it synced, or
// not: each of its processes says so once in a second while it works, and when it was
// idle for ten. Without it the commits of a run may be some of the one before.
func (d *Driver) Exact(exact bool) { d.exact = exact && d.server.postgres != nil }

// idleTime is after how long an idle process of PostgreSQL has told.
const idleTime = 10500 * time.Millisecond

// Bare makes runs from now on measure the bare curve operations meanwhile, or not.
func (d *Driver) Bare(bare bool) { d.bare = bare }

// beginning is how things are when a run begins.
type beginning struct {
	curve func() (Curve, error) // ends measuring; nil if nothing is measured
	usage Usage
	at    time.Time
}

func (d *Driver) begin(ctx context.Context) (b beginning, err error) {
	if d.exact {
		time.Sleep(idleTime)
	}
	if err := d.server.warm(); err != nil {
		return b, err
	}
	if b.usage, err = d.server.Usage(ctx); err != nil {
		return b, err
	}
	if d.bare {
		b.curve = measureCurve()
	}
	b.at = time.Now()
	return b, nil
}

// end is what was used since a run began.
func (d *Driver) end(ctx context.Context, begun beginning) (*Result, error) {
	elapsed := time.Since(begun.at)
	before := begun.usage
	var curve Curve
	if begun.curve != nil {
		var err error
		if curve, err = begun.curve(); err != nil {
			return nil, err
		}
	}
	after, err := d.server.Usage(ctx)
	if err != nil {
		return nil, err
	}
	r := &Result{Elapsed: elapsed, CPU: after.CPU - before.CPU, DatabaseCPU: after.Database - before.Database, Bytes: after.Bytes - before.Bytes, Curve: curve}
	if d.exact {
		time.Sleep(idleTime)
		if after, err = d.server.Usage(ctx); err != nil {
			return nil, err
		}
	}
	r.Commits = after.Commits - before.Commits
	return r, nil
}

func (d *Driver) close() { d.http.CloseIdleConnections() }

func (d *Driver) client(procedure string) *connect.Client[apiv1.SignedRequest, apiv1.SignedAnswer] {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.rpc[procedure]
	if !ok {
		c = connect.NewClient[apiv1.SignedRequest, apiv1.SignedAnswer](d.http, d.server.URL+procedure)
		d.rpc[procedure] = c
	}
	return c
}

// patience is how often a client asks again that does not give up.
const patience = 60

// do sends the calls of a task. It stops at the first that has not the end that it
// should have; which end that was is looked at later. A patient client asks again
// when the server is busy, and so does every client that has begun a task: nothing
// was done for what is refused so.
func (d *Driver) do(ctx context.Context, t Task, from time.Time, patient bool) done {
	result := done{task: t, late: time.Since(from)}
	for i, call := range t {
		response, err := d.client(call.Procedure).CallUnary(ctx, connect.NewRequest(call.Request))
		for tries := 0; (patient || i > 0) && tries < patience && connect.CodeOf(err) == connect.CodeUnavailable && ctx.Err() == nil; tries++ {
			time.Sleep(pause)
			response, err = d.client(call.Procedure).CallUnary(ctx, connect.NewRequest(call.Request))
		}
		var answer *apiv1.SignedAnswer
		if err == nil {
			answer = response.Msg
		}
		result.answers, result.errs = append(result.answers, answer), append(result.errs, err)
		if (err != nil) != (call.Refused != 0) {
			break
		}
	}
	result.took = time.Since(from)
	return result
}

// Closed has so many clients do tasks, each the next one when its last one was
// answered, or a second after it was refused because the server is busy, until the time is over or no task is left.
func (d *Driver) Closed(ctx context.Context, tasks []Task, clients int, limit time.Duration) (*Result, error) {
	return d.closed(ctx, tasks, clients, limit, false)
}

// All has so many clients do all tasks, however busy the server is.
func (d *Driver) All(ctx context.Context, tasks []Task, clients int) (*Result, error) {
	r, err := d.closed(ctx, tasks, clients, time.Hour, true)
	if err == nil && r.Tasks != len(tasks) {
		return nil, fmt.Errorf("load: the server answered %d of %d, and had no time for %d", r.Tasks, len(tasks), r.Shed)
	}
	return r, err
}

func (d *Driver) closed(ctx context.Context, tasks []Task, clients int, limit time.Duration, patient bool) (*Result, error) {
	begun, err := d.begin(ctx)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	all := make([][]done, clients)
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for time.Since(begun.at) < limit && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(tasks) {
					return
				}
				one := d.do(ctx, tasks[i], time.Now(), patient)
				all[client] = append(all[client], one)
				if one.busy() {
					time.Sleep(pause)
				}
			}
		})
	}
	group.Wait()
	return d.judge(ctx, slices.Concat(all...), begun)
}

// Open sends tasks at so many a second, whether or not earlier ones were answered,
// with the gaps between independent arrivals (exponential, drawn beforehand). A
// task's latency counts from when it was to be sent.
func (d *Driver) Open(ctx context.Context, tasks []Task, perSecond float64) (*Result, error) {
	random := rand.New(rand.NewPCG(1, uint64(len(tasks))))
	at := make([]time.Duration, len(tasks))
	var sum float64
	for i := range at {
		sum += random.ExpFloat64() / perSecond
		at[i] = time.Duration(sum * float64(time.Second))
	}
	begun, err := d.begin(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]done, len(tasks))
	var group sync.WaitGroup
	for i, task := range tasks {
		if wait := time.Until(begun.at.Add(at[i])); wait > 0 {
			time.Sleep(wait)
		}
		group.Go(func() { all[i] = d.do(ctx, task, begun.at.Add(at[i]), false) })
	}
	group.Wait()
	return d.judge(ctx, all, begun)
}

// judge checks all answers, now that nothing is measured.
func (d *Driver) judge(ctx context.Context, all []done, begun beginning) (*Result, error) {
	r, err := d.end(ctx, begun)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, one := range all {
		shed, err := d.check(one)
		switch {
		case err != nil:
			return nil, err
		case shed:
			r.Shed++
		default:
			r.Tasks++
			r.took = append(r.took, one.took)
		}
		r.late = append(r.late, one.late)
	}
	slices.Sort(r.took)
	slices.Sort(r.late)
	return r, nil
}

// check says whether the server had no time for a task, and returns an error for
// any other end than the one that every call of it should have.
func (d *Driver) check(one done) (shed bool, err error) {
	for i, call := range one.task {
		if i >= len(one.errs) {
			return false, fmt.Errorf("load: %s was not asked", call.Procedure)
		}
		if one.errs[i] == nil {
			if call.Refused != 0 {
				return false, fmt.Errorf("load: %s was not refused: %s", call.Procedure, call.Refused)
			}
			if err := call.Check(one.answers[i]); err != nil {
				return false, fmt.Errorf("load: the answer to %s: %w", call.Procedure, err)
			}
			continue
		}
		told := api.FromConnect(d.key, call.Hash, one.errs[i])
		var refusal *api.Refusal
		switch {
		case errors.As(told, &refusal) && call.Refused != 0 && refusal.Reason == call.Refused && refusal.Signed:
		case errors.As(told, &refusal) && refusal.Reason == api.ErrUnavailable:
			return true, nil
		default:
			return false, fmt.Errorf("load: %s: %w", call.Procedure, told)
		}
	}
	return false, nil
}
