package credential

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// Map calls do for every item, on all cores, and returns the results in the
// items' order. It is the one path for work on many slots: a rotation, a
// recovery, an import.
//
// After an error, or once ctx is done, no further call is begun; those under way
// are waited for. If an item failed or was not begun, Map returns no results and
// the error of the first item, in the items' order, that failed, or ctx's. Secrets in results that are dropped
// this way are left to the garbage collector.
//
// do runs in several goroutines at once: a source of randomness that it reads
// must allow that, as crypto/rand.Reader does.
func Map[In, Out any](ctx context.Context, items []In, do func(context.Context, In) (Out, error)) ([]Out, error) {
	results := make([]Out, len(items))
	errs := make([]error, len(items))
	var next atomic.Int64
	var stop atomic.Bool
	work := func() {
		for !stop.Load() && ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(items) {
				return
			}
			if results[i], errs[i] = do(ctx, items[i]); errs[i] != nil {
				stop.Store(true)
			}
		}
	}

	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(items)) {
		workers.Go(work)
	}
	workers.Wait()

	// Items are begun in order, so that every one before the first that failed
	// was finished: which error is returned is no matter of chance.
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if int(next.Load()) < len(items) {
		return nil, ctx.Err()
	}
	return results, nil
}
