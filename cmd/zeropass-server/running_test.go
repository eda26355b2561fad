package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// What a server adds to Go's runtime is the operator's to change, by Go's own
// variables.
func TestThreadsAndHeap(t *testing.T) {
	values := func() (threads, heap, growth float64) {
		p := start(t, t.TempDir(), loopback, adminLoopback)
		_, metrics := get(t, p.AdminURL+"/metrics")
		p.stop(t)
		value := func(metric string) float64 {
			found := regexp.MustCompile(`(?m)^` + metric + ` (.*)$`).FindStringSubmatch(metrics)
			if found == nil {
				t.Fatalf("there is no %s", metric)
			}
			return must[float64](t)(strconv.ParseFloat(found[1], 64))
		}
		return value("go_sched_gomaxprocs_threads"), value("go_memstats_heap_alloc_bytes"), value("go_gc_gogc_percent")
	}
	t.Setenv("GOMAXPROCS", "")
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	ballast := float64(leastHeap(usableMemory(os.DirFS("/"))) * 100 / heapGrowth)
	if threads, heap, growth := values(); threads < leastThreads || heap < ballast || growth != heapGrowth {
		t.Errorf("%v threads, a heap of %v bytes that grows by %v %%", threads, heap, growth)
	}
	t.Setenv("GOMAXPROCS", "1")
	t.Setenv("GOMEMLIMIT", "256MiB")
	if threads, heap, growth := values(); threads != 1 || heap >= ballast || growth == heapGrowth {
		t.Errorf("as the operator says: %v threads, a heap of %v bytes that grows by %v %%", threads, heap, growth)
	}
}
