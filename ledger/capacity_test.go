package ledger

import (
	"encoding/binary"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

const mib = 1 << 20

// sized is the next version of a slot in all epochs that it belongs in, which
// takes so many bytes of a recovery.
func (w *world) sized(name string, sizes ...int) []proto.Message {
	puts := w.slotPuts(name)
	for i, p := range puts {
		p.(*recordv1.SlotPut).SealedBackupShare = make([]byte, sizes[i]-64)
	}
	return puts
}

func (w *world) wantUsed(want int) {
	w.t.Helper()
	checkCarried(w)
	if used, limit := w.state.Capacity(); used != want || limit != 24*mib {
		w.t.Fatalf("%d of %d bytes are used, not %d", used, limit, want)
	}
}

var errCapacity = &RuleError{Rule: RuleCapacity}

func TestCapacity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.wantUsed(0)
	history(w, "G E")
	put := func(name string, sizes ...int) error { return w.apply(w.draft(w.sized(name, sizes...)...)) }
	must(t, put("a", 10*mib))
	must(t, put("b", 10*mib))
	if err := put("c", 4*mib+1); !errors.Is(err, errCapacity) {
		t.Fatalf("one byte too many: %v", err)
	}
	must(t, put("c", 4*mib))
	w.wantUsed(24 * mib)
	if err := put("d", 65); !errors.Is(err, errCapacity) {
		t.Fatalf("the least that there is: %v", err)
	}
	// A newer version takes the place of the older one, a deletion makes room.
	if err := put("a", 10*mib+1); !errors.Is(err, errCapacity) {
		t.Fatalf("a larger version: %v", err)
	}
	must(t, put("a", 10*mib))
	must(t, put("a", 1*mib))
	w.wantUsed(15 * mib)
	history(w, "W:b")
	w.wantUsed(5 * mib)
	// One entry may do both, in this order.
	id := w.slot("c")
	deleted := &recordv1.SlotDeleted{Slot: id[:]}
	larger := w.sized("e", 23*mib)
	if err := w.apply(w.draft(larger[0], deleted)); !errors.Is(err, errCapacity) {
		t.Fatalf("deleted too late: %v", err)
	}
	must(t, w.apply(w.draft(deleted, larger[0])))
	w.wantUsed(24 * mib)
}

// TestCapacityOfTwoEpochs: while an epoch is prepared both must fit, and only
// what is split there counts.
func TestCapacityOfTwoEpochs(t *testing.T) {
	t.Parallel()
	w := play(t, recoverable)
	put := func(name string, sizes ...int) error { return w.apply(w.draft(w.sized(name, sizes...)...)) }
	stage := func(sizes ...int) error {
		puts := w.stage()
		for i, p := range puts {
			p.(*recordv1.SlotPut).SealedBackupShare = make([]byte, sizes[i]-64)
		}
		return w.apply(w.draft(puts...))
	}
	must(t, put("a", 10*mib))
	history(w, "E")
	w.wantUsed(10 * mib)
	if err := stage(24*mib + 1); !errors.Is(err, errCapacity) {
		t.Fatalf("staged: %v", err)
	}
	must(t, stage(12*mib))
	w.wantUsed(12 * mib)
	if err := put("b", 10*mib, 12*mib+1); !errors.Is(err, errCapacity) {
		t.Fatalf("too large for the prepared epoch: %v", err)
	}
	if err := put("b", 14*mib+1, 1*mib); !errors.Is(err, errCapacity) {
		t.Fatalf("too large for the epoch in use: %v", err)
	}
	must(t, put("b", 1*mib, 12*mib))
	w.wantUsed(24 * mib)
	// A newer version voids what was staged of the older one.
	must(t, put("a", 2*mib, 2*mib))
	w.wantUsed(14 * mib)
	// Another prepared epoch voids the splits of this one.
	history(w, "E")
	w.wantUsed(3 * mib)
	for range 2 {
		puts := w.stage()
		puts[0].(*recordv1.SlotPut).SealedBackupShare = make([]byte, 5*mib-64)
		must(t, w.apply(w.draft(puts[0])))
	}
	w.wantUsed(10 * mib)
	history(w, "W:b")
	w.wantUsed(5 * mib)
	history(w, "B1 B2 R1 R2 RS C")
	w.wantUsed(5 * mib)
	if err := put("c", 19*mib+1); !errors.Is(err, errCapacity) {
		t.Fatalf("in the epoch that was committed: %v", err)
	}
	must(t, put("c", 19*mib))
	// A recovery changes nothing of it, and voids a prepared epoch.
	history(w, "E")
	must(t, stage(6*mib, 1*mib))
	history(w, "Q:r/12")
	w.wantUsed(24 * mib)
}

// TestRecoveredFits makes the greatest Recovered entry of an account that is
// full, with slots of every size, and far more of everything else than there
// will ever be.
func TestRecoveredFits(t *testing.T) {
	t.Parallel()
	const vetoes, generations = 8192, 16384
	w := play(t, "G E:16of16+sheet")
	base := fullStatement(w, vetoes, generations)
	for _, c := range []struct {
		name   string
		backup int // bytes of a slot's sealed backup share
	}{
		{"the smallest that the rules admit", 1},
		{"nothing but a key", 81 + 33},
		{"the smallest secrets", 81 + 97},
		{"photos", 1 * mib},
		{"one", 24*mib - 64},
	} {
		st := proto.CloneOf(base)
		// The device share is as long as the backup share within its ciphertext,
		// or empty where that does not open.
		sealed := make([]byte, 28+max(0, c.backup-81))
		slots := 24 * mib / (c.backup + 64)
		for i := range slots {
			id := make([]byte, idSize)
			binary.BigEndian.PutUint64(id, uint64(i))
			st.DeviceShares = append(st.DeviceShares, &recordv1.SlotShare{Slot: id, Version: maxIndex, SealedDeviceShare: sealed})
		}
		b, err := marshal(st)
		must(t, err)
		d := w.draft(&recordv1.Recovered{Statement: b, RootSignature: make([]byte, 64)})
		d.author = st.Device
		if e, err := d.sign(); err != nil || len(e.Bytes()) > MaxEntrySize {
			t.Errorf("%s, %d slots: %v", c.name, slots, err)
		}
		if n := slots + generations + 100; n > canonical.MaxElements {
			t.Errorf("%s: %d elements", c.name, n)
		}
	}
}

// fullStatement has all approvals that there can be, and no device shares.
func fullStatement(w *world, vetoes, generations int) *recordv1.RecoveredStatement {
	r := w.request("r")
	proof := w.attest(&recordv1.Holder{Kind: recordv1.Holder_KIND_DEVICE, Number: 1}, w.state.Head())
	server := w.attest(serverHolder, w.state.Head())
	approve := func(h *recordv1.Holder, head *recordv1.ProvedHead) []byte {
		a := w.approval(r, h)
		a.Head = head
		for range vetoes {
			a.Vetoes = append(a.Vetoes, make([]byte, hashSize))
		}
		return w.signApproval(a)
	}
	st := w.statement(r)
	for number := range uint64(maxQuorum) {
		st.Approvals = append(st.Approvals, approve(member(number+1), &recordv1.ProvedHead{Device: proof, Server: server}))
	}
	st.Approvals = append(st.Approvals, approve(sheetHolder, nil))
	st.Generations = nil
	for g := range generations {
		st.Generations = append(st.Generations, &recordv1.GenerationKeys{Number: uint64(g) + 1, MetadataKey: make([]byte, 65+32+16)})
	}
	return st
}
