package ledger

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// BenchmarkFold folds 10,000 entries with a SlotPut each, and says how many
// times as long it takes as their bare signatures on as many cores.
func BenchmarkFold(b *testing.B) {
	const slots = 10_000
	w := play(b, "G E")
	for range slots {
		put := w.slotPut(SlotID(w.bytes(idSize)), 1, 1, w.state.Counter(1)+1)
		put.SealedMetadata, put.SealedBackupShare = w.bytes(284), w.bytes(178)
		must(b, w.state.Apply(signed(b, w.draft(put), w)))
	}
	entries := w.entries
	b.Run("entries=10000", func(b *testing.B) {
		var fold, bare time.Duration
		for b.Loop() {
			start := time.Now()
			if _, err := Fold(entries...); err != nil {
				b.Fatal(err)
			}
			fold += time.Since(start)
			b.StopTimer()
			bare += bareSignatures(b, w, entries)
			b.StartTimer()
		}
		b.ReportMetric(float64(fold)/float64(bare), "x-bare-signatures")
	})
	b.Run("next entry", func(b *testing.B) {
		d := w.draft(w.slotPut(SlotID(w.bytes(idSize)), 1, 1, w.state.Counter(1)+1))
		e, err := d.sign()
		must(b, err)
		var apply, bare time.Duration
		for b.Loop() {
			start := time.Now()
			w.state.proved = nil
			if err := w.state.apply(e); err != nil {
				b.Fatal(err)
			}
			apply += time.Since(start)
			w.state.rollback()
			start = time.Now()
			w.devices[1].sign.PublicKey().Verify(e.context(), e.signature)
			bare += time.Since(start)
		}
		b.ReportMetric(float64(apply)/float64(bare), "x-bare-signature")
	})
	b.Run("parse", func(b *testing.B) {
		raw := entries[len(entries)-1].Bytes()
		for b.Loop() {
			if _, err := ParseEntry(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFoldOneEntry folds one entry with 10,000 SlotPuts: an import.
func BenchmarkFoldOneEntry(b *testing.B) {
	w := play(b, "G E")
	d := w.draft(w.slotPut(SlotID(w.bytes(idSize)), 1, 1, 1))
	for counter := uint64(2); counter <= 10_000; counter++ {
		d.records = append(d.records, w.draft(w.slotPut(SlotID(w.bytes(idSize)), 1, 1, counter)).records...)
	}
	e, err := d.sign()
	must(b, err)
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := ParseEntry(e.Bytes()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		for b.Loop() {
			if err := w.state.apply(e); err != nil {
				b.Fatal(err)
			}
			w.state.rollback()
		}
	})
}

func signed(b *testing.B, d *draft, w *world) *Entry {
	e, err := d.sign()
	must(b, err)
	w.entries = append(w.entries, e)
	return e
}

// bareSignatures verifies the authors' signatures on all cores and nothing else.
func bareSignatures(b *testing.B, w *world, entries []*Entry) time.Duration {
	key := w.devices[1].sign.PublicKey()
	start := time.Now()
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < len(entries); i += workers {
				if !key.Verify(entries[i].context(), entries[i].signature) {
					b.Error("not valid")
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
