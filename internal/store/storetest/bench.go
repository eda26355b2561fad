package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zeropass.dev/zeropass/internal/store"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/signing"
)

// Durable is a store that a benchmark runs on.
type Durable struct {
	Store store.Store
	Dir   string                      // on the disk that the store is on
	Syncs func(testing.TB) uint64     // how often the database has made something durable
	After func(b *testing.B, ops int) // may be nil; reports what else the database knows
}

// Bench measures what one reveal takes of the store: reading the account and its
// share, and logging the answer. It does so for one client, and for 64 at a time,
// each in an account of its own. Beside the time it reports the processor's time of
// this process, also in verifications of a signature, how often the database made
// something durable for each, and the time that a bare write and fsync takes on the
// same disk.
func Bench(b *testing.B, open func(b *testing.B) Durable) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			d := open(b)
			defer func() {
				if err := d.Store.Close(); err != nil {
					b.Error(err)
				}
			}()
			bare, verification := bareSync(b, d.Dir), bareVerification(b)
			accounts := make([]*revealing, clients)
			var group sync.WaitGroup
			for i := range accounts {
				group.Go(func() { accounts[i] = newRevealing(b, d.Store, i) })
			}
			group.Wait()
			if b.Failed() {
				return
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			syncs, cpu := d.Syncs(b), processorTime(b)
			b.ResetTimer()
			for _, a := range accounts {
				group.Go(func() {
					for left.Add(-1) >= 0 {
						if err := a.reveal(b.Context(), d.Store); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.StopTimer()
			took := (processorTime(b) - cpu) / time.Duration(b.N)
			b.ReportMetric(float64(took.Microseconds()), "cpu-µs/op")
			b.ReportMetric(float64(took)/float64(verification), "verifications/op")
			b.ReportMetric(float64(d.Syncs(b)-syncs)/float64(b.N), "syncs/op")
			b.ReportMetric(float64(bare.Microseconds()), "bare-sync-µs")
			if d.After != nil {
				d.After(b, b.N)
			}
		})
	}
}

// revealing is an account whose device reveals.
type revealing struct {
	id    ledger.AccountID
	head  ledger.Head
	share ledger.ShareID
	now   time.Time
	count uint64
}

func (r *revealing) spend(procedure string) store.Spend {
	r.count++
	nonce := sha256.Sum256(fmt.Appendf(r.id[:], "%d", r.count))
	return store.Spend{
		Key: append([]byte{2}, r.id[:]...), Nonce: nonce[:16], Now: r.now, Expires: r.now.Add(4 * time.Minute),
		Log:     &store.Log{Account: r.id, Request: append(make([]byte, 600), procedure...), Answer: nonce},
		Changes: []store.Change{{Account: r.id, Kinds: 1}},
	}
}

func newRevealing(b *testing.B, s store.Store, n int) *revealing {
	entry, key := Genesis()
	id, _ := entry.Account()
	r := &revealing{id: id, now: start, share: slotID(1, 1, 1)}
	spend := r.spend("create")
	spend.Log = nil
	if err := s.Create(b.Context(), store.Creation{Spend: spend, Name: fmt.Sprint(n), NameKey: fmt.Sprint(n), Genesis: entry}); err != nil {
		b.Error(err)
		return nil
	}
	next := Next(id, key, entry.Head())
	r.head = next.Head()
	if err := s.Append(b.Context(), store.Append{Spend: r.spend("append"), Account: id, Head: entry.Head(), Entries: []*ledger.Entry{next},
		Shares: []store.Share{{ShareID: r.share, Key: "key", Sealed: make([]byte, 300)}}}); err != nil {
		b.Error(err)
	}
	return r
}

func (r *revealing) reveal(ctx context.Context, s store.Store) error {
	r.now = r.now.Add(10 * time.Minute) // some of the last day's count each time
	if _, err := s.Account(ctx, r.id); err != nil {
		return err
	}
	if shares, err := s.Shares(ctx, r.id, []ledger.ShareID{r.share}); err != nil || len(shares) != 1 {
		return fmt.Errorf("%d shares, %w", len(shares), err)
	}
	spend := r.spend("reveal")
	spend.Origin = &store.Origin{Account: r.id, Country: "NZ", Learn: true, Alarm: store.Alarm{ID: "new", Account: r.id, Kind: "country", Body: []byte("{}")}}
	return s.Log(ctx, store.Answer{Spend: spend, Account: r.id, Head: r.head,
		Reveal: &store.RevealLimit{PerHour: 100, PerDay: 500, Device: 1, DevicePerHour: 100, DevicePerDay: 500}})
}

// bareSync returns how long a write and its fsync take.
func bareSync(b *testing.B, dir string) time.Duration {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const times = 50
	page := make([]byte, 4096)
	begun := time.Now()
	for i := range times {
		binary.LittleEndian.PutUint64(page, uint64(i))
		if _, err := f.WriteAt(page, int64(i%8)*4096); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begun) / times
}

// bareVerification returns the processor's time for one signature.
func bareVerification(b *testing.B) time.Duration {
	key, err := signing.NewPrivateKey(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		b.Fatal(err)
	}
	context := signing.NewContext("benchmark")
	signature, public := key.Sign(context), key.PublicKey()
	const times = 1000
	begun := processorTime(b)
	for range times {
		if !public.Verify(context, signature) {
			b.Fatal("it does not verify")
		}
	}
	return (processorTime(b) - begun) / times
}

// processorTime is what this process has used of the processor.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
