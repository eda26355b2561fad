package recovery

import (
	"testing"

	"zeropass.dev/zeropass/slip39"
)

// benchSlots is how many secrets a person has who has used a password manager for
// long.
const benchSlots = 1000

func benchAccount(b *testing.B) *recovering {
	w := newAccount(b, 99, titles(benchSlots)...)
	return w.recover()
}

// BenchmarkOpen opens 1,000 slots from the shares of each two parties.
func BenchmarkOpen(b *testing.B) {
	r := benchAccount(b)
	device := r.device(1)
	for name, pair := range map[string][2]Source{
		"device and contacts": {device, r.recovery.Backup},
		"server and contacts": {r.released, r.recovery.Backup},
		"device and server":   {device, r.released},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				opened, err := Open(b.Context(), r.state, 1, pair[0], pair[1])
				if err != nil || len(opened) != benchSlots || opened[0].Err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNewRecovered states the recovery of 1,000 slots.
func BenchmarkNewRecovered(b *testing.B) {
	r := benchAccount(b)
	for b.Loop() {
		if _, lost, err := NewRecovered(b.Context(), r.rand, r.recovery); err != nil || len(lost) != 0 {
			b.Fatal(err, lost)
		}
	}
}

// BenchmarkRebuild rebuilds a seed from three shares.
func BenchmarkRebuild(b *testing.B) {
	w := newAccount(b, 98, "one")
	s := w.epochs[1]
	shares := []*slip39.Share{s.server, s.members[0], s.members[2]}
	for b.Loop() {
		keys, _, err := Rebuild(shares, w.state, 1)
		if err != nil {
			b.Fatal(err)
		}
		keys.Erase()
	}
}
