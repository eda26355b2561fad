package credential

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

// cores sets GOMAXPROCS for a test, which then runs alike on every machine.
func cores(t *testing.T, n int) {
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func TestMapKeepsOrder(t *testing.T) {
	for _, n := range []int{1, 4} {
		cores(t, n)
		for _, count := range []int{0, 1, 3, 1000} {
			items := make([]int, count)
			for i := range items {
				items[i] = i
			}
			got, err := Map(t.Context(), items, func(_ context.Context, i int) (string, error) {
				return fmt.Sprint(i), nil
			})
			if err != nil || len(got) != count {
				t.Fatalf("%d results of %d, %v", len(got), count, err)
			}
			for i, s := range got {
				if s != fmt.Sprint(i) {
					t.Fatalf("result %d is %s", i, s)
				}
			}
		}
	}
}

// All cores work at once: none of four calls ends before all have begun.
func TestMapUsesAllCores(t *testing.T) {
	cores(t, 4)
	var begun atomic.Int32
	all := make(chan struct{})
	_, err := Map(t.Context(), make([]struct{}, 4), func(context.Context, struct{}) (struct{}, error) {
		if begun.Add(1) == 4 {
			close(all)
		}
		<-all
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMapReturnsTheFirstError(t *testing.T) {
	cores(t, 4)
	items := make([]int, 1000)
	for i := range items {
		items[i] = i
	}
	for range 50 {
		var calls atomic.Int32
		got, err := Map(t.Context(), items, func(_ context.Context, i int) (int, error) {
			calls.Add(1)
			if i >= 10 {
				return 0, fmt.Errorf("item %d", i)
			}
			return i, nil
		})
		if got != nil || err == nil || err.Error() != "item 10" {
			t.Fatalf("%v, %v", got, err)
		}
		if calls.Load() > 10+4 {
			t.Fatalf("%d calls after an error", calls.Load())
		}
	}
}

func TestMapStopsWithItsContext(t *testing.T) {
	cores(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int32
	got, err := Map(ctx, make([]int, 1000), func(context.Context, int) (int, error) {
		calls.Add(1)
		cancel()
		return 0, nil
	})
	if got != nil || !errors.Is(err, context.Canceled) || calls.Load() > 2 {
		t.Errorf("%d results, %v after %d calls", len(got), err, calls.Load())
	}

	// What was finished all the same is returned.
	ctx, cancel = context.WithCancel(t.Context())
	got, err = Map(ctx, make([]int, 1), func(context.Context, int) (int, error) {
		cancel()
		return 7, nil
	})
	if err != nil || len(got) != 1 || got[0] != 7 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestMapOverPuts(t *testing.T) {
	cores(t, 4)
	f := newFixture(t)
	counters := make([]uint64, 40)
	for i := range counters {
		counters[i] = uint64(i) + 1
	}
	type both struct {
		put    *recordv1.SlotPut
		sealed *recordv1.SealedServerShare
	}
	puts, err := Map(t.Context(), counters, func(_ context.Context, counter uint64) (both, error) {
		p := f.put
		p.Counter, p.Slot[1] = counter, byte(counter)
		put, sealed, err := NewPut(rand.Reader, p)
		return both{put, sealed}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range puts {
		device, server, _ := f.open(t, b.put, b.sealed)
		secret, err := OpenSecret(f.put.Account, b.put, device, server)
		if err != nil || b.put.Counter != counters[i] || !proto.Equal(secret, f.put.Secret) {
			t.Fatalf("put %d: counter %d, %v", i, b.put.Counter, err)
		}
	}
}
