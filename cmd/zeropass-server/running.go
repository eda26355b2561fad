package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"zeropass.dev/zeropass/internal/server"
	"zeropass.dev/zeropass/internal/store"
)

const (
	// stopTime is how long requests under way may take to end when the server
	// stops.
	stopTime = 20 * time.Second
	maxDrain = 5 * time.Minute
)

// leastThreads is how many goroutines may run at a time at least, however few
// processors there are. One that syncs the disk keeps its place for a while, and
// changes that are to share the sync must come meanwhile.
const leastThreads = 2

// spreadOut sees to it, unless GOMAXPROCS says otherwise. It comes after whatever is
// bounded by the processors that there really are, admission for one.
func spreadOut() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < leastThreads {
		runtime.GOMAXPROCS(leastThreads)
	}
}

// By how many percent of what was in use the heap grows before what is garbage is looked
// for. Ledgers that are folded in memory are many small things, and to look at all of
// them takes processor time that reveals need.
const heapGrowth = 200

// leastHeap is by how many bytes it grows besides, of the memory that the process may
// use: a server with little in use would be searched hundreds of times a minute.
func leastHeap(memory uint64) uint64 { return min(max(memory/16, 64<<20), 256<<20) }

// collectLater sees to that until what it returns is let go: something that is never
// touched, and so takes no memory itself. It does nothing where GOGC or GOMEMLIMIT say
// when to look; the limit would count what it returns.
func collectLater() (ballast []byte) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	debug.SetGCPercent(heapGrowth)
	return make([]byte, leastHeap(usableMemory(os.DirFS("/")))*100/heapGrowth)
}

// running is a server that answers.
type running struct {
	server       *server.Server
	health       *health
	http         *http.Server
	listener     net.Listener
	certificates *certificates // nil without TLS
	drain        time.Duration
	manager      *systemd
	log          *slog.Logger
}

// until serves until ctx ends or the store fails. Then /readyz says no; after the
// drain new requests are refused and streams end; what is under way may end.
func (r *running) until(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- r.serve() }()
	var stopped error
	select {
	case err := <-served:
		return err
	case <-r.health.failed:
		stopped = store.ErrFailed
	case <-ctx.Done():
	}
	r.manager.say("STOPPING=1")
	r.health.stopping.Store(true)
	r.log.Info("the server stops", "under_way", r.server.UnderWay(), "streams", r.server.Streams())
	if stopped == nil {
		time.Sleep(r.drain)
	}
	r.server.Drain()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	r.settle(ending)
	if err := r.http.Shutdown(ending); err != nil {
		// Somebody is too slow. What was acknowledged is durable.
		stopped = errors.Join(stopped, r.http.Close())
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		stopped = errors.Join(stopped, err)
	}
	return stopped
}

func (r *running) serve() error {
	if r.certificates == nil {
		return r.http.Serve(r.listener)
	}
	r.http.TLSConfig = r.certificates.config()
	return r.http.ServeTLS(r.listener, "", "")
}

// settle waits until nothing is under way. The listener stays open meanwhile: who
// comes is told that the server stops.
func (r *running) settle(ctx context.Context) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for r.server.UnderWay() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}
