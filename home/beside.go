package home

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// What a device keeps beside the ledger: the newest proof of every holder, the
// shares that it holds for others, and evidence. The server's activity log has a
// file of its own.

func (h *Home) loadProofs() error {
	frames, err := h.readFrames(proofsFile)
	for i, b := range frames {
		a, err := ledger.ParseAttestation(b)
		if err != nil {
			return &DamageError{File: proofsFile, Reason: fmt.Sprintf("frame %d: %v", i+1, err)}
		}
		h.proofs = append(h.proofs, a)
	}
	return err
}

// readFrames reads a framed file that is always replaced as a whole.
func (h *Home) readFrames(name string) ([][]byte, error) {
	b, err := readLimited(h.path(name), name, 4*maxSmallFile)
	if err != nil {
		return nil, lost(name, err)
	}
	var frames [][]byte
	end, err := scan(bytes.NewReader(b), int64(len(b)), name, func(_ int64, payload []byte) error {
		frames = append(frames, payload)
		return nil
	})
	if err == nil && end != int64(len(b)) {
		err = &DamageError{File: name, Offset: end, Reason: "it is cut short"}
	}
	if err != nil && !h.tolerant {
		return nil, err
	}
	return frames, err
}

func (h *Home) writeFrames(name string, frames [][]byte) error {
	content := []byte(magic(name))
	for _, b := range frames {
		content = appendFrame(content, b)
	}
	return writeFile(h.path(name), content)
}

// Proofs returns the newest attestation of every holder, by kind and number.
func (h *Home) Proofs() []*ledger.Attestation {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Clone(h.proofs)
}

// PutProof stores an attestation that the caller has verified, unless a newer
// one of its holder is there. A holder's newest is that of the highest head, and
// of the latest time among those; one over a history that the replica does not
// have any more is older than all. A member is another holder in each epoch.
func (h *Home) PutProof(a *ledger.Attestation) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	proofs := slices.Clone(h.proofs)
	i, found := slices.BinarySearchFunc(proofs, a, compareHolders)
	if !found {
		proofs = slices.Insert(proofs, i, a)
	} else {
		old := proofs[i]
		newer := cmp.Or(cmp.Compare(a.Head().Sequence, old.Head().Sequence), a.Time().Compare(old.Time()))
		if newer <= 0 && (h.state == nil || h.state.Contains(old.Head())) {
			return nil
		}
		proofs[i] = a
	}
	frames := make([][]byte, len(proofs))
	for i, p := range proofs {
		frames[i] = p.Bytes()
	}
	if err := h.writeFrames(proofsFile, frames); err != nil {
		return err
	}
	h.proofs = proofs
	return nil
}

func compareHolders(a, b *ledger.Attestation) int {
	epoch := func(x *ledger.Attestation) uint64 {
		switch x.Holder().GetKind() {
		case recordv1.Holder_KIND_MEMBER, recordv1.Holder_KIND_SHEET:
			return x.Epoch()
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Holder().GetKind(), b.Holder().GetKind()),
		cmp.Compare(a.Holder().GetNumber(), b.Holder().GetNumber()),
		cmp.Compare(epoch(a), epoch(b)))
}

// HeldID names a share that is held for somebody else.
type HeldID struct {
	Account ledger.AccountID // the owner's
	Epoch   uint64
	Member  uint64
}

// ParseHeldID returns the id of a stored share, from its envelope.
func ParseHeldID(s *recordv1.StoredShare) (HeldID, error) {
	var signed recordv1.SignedShareEnvelope
	if err := canonical.Unmarshal(s.GetEnvelope(), &signed); err != nil {
		return HeldID{}, err
	}
	var e recordv1.ShareEnvelope
	if err := canonical.Unmarshal(signed.GetEnvelope(), &e); err != nil {
		return HeldID{}, err
	}
	if len(e.GetAccount()) != len(ledger.AccountID{}) {
		return HeldID{}, fmt.Errorf("home: an account id of %d bytes", len(e.GetAccount()))
	}
	return HeldID{ledger.AccountID(e.GetAccount()), e.GetEpoch(), e.GetMember()}, nil
}

// Held returns the shares that are held for others. The caller erases them.
func (h *Home) Held() ([]*recordv1.StoredShare, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.held()
}

func (h *Home) held() ([]*recordv1.StoredShare, error) {
	if h.holder == nil {
		return nil, ErrLocked
	}
	frames, err := h.readFrames(heldFile)
	if err != nil {
		return nil, err
	}
	var shares []*recordv1.StoredShare
	for _, sealed := range frames {
		b, err := h.holder.OpenFile(heldFile, sealed)
		if err != nil {
			return nil, err
		}
		s := new(recordv1.StoredShare)
		err = canonical.Unmarshal(b, s)
		clear(b)
		if err != nil {
			return nil, &DamageError{File: heldFile, Reason: err.Error()}
		}
		shares = append(shares, s)
	}
	return shares, nil
}

// PutHeld stores a share that is held for somebody else, in the place of what
// has the same id.
func (h *Home) PutHeld(share *recordv1.StoredShare) error {
	id, err := ParseHeldID(share)
	if err != nil {
		return err
	}
	return h.changeHeld(id, share)
}

// RemoveHeld forgets a share. That it is not there is no error.
func (h *Home) RemoveHeld(id HeldID) error { return h.changeHeld(id, nil) }

// changeHeld rewrites the file with the share in its place, or without it.
func (h *Home) changeHeld(id HeldID, share *recordv1.StoredShare) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	shares, err := h.held()
	if err != nil {
		return err
	}
	var frames [][]byte
	add := func(s *recordv1.StoredShare) error {
		b, err := canonical.Marshal(s)
		if err != nil {
			return fmt.Errorf("home: held share: %w", err)
		}
		defer clear(b)
		sealed, err := h.holder.SealFile(heldFile, b)
		frames = append(frames, sealed)
		return err
	}
	for _, s := range shares {
		other, err := ParseHeldID(s)
		if err != nil {
			return err
		}
		if other != id {
			if err := add(s); err != nil {
				return err
			}
		}
	}
	if share != nil {
		if err := add(share); err != nil {
			return err
		}
	}
	return h.writeFrames(heldFile, frames)
}

// PutEvidence keeps bytes that prove something, under a name. They are public.
func (h *Home) PutEvidence(name string, content []byte) error {
	path, err := sealedPath(evidenceDir, "", name)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return err
	}
	return writeFile(h.path(path), content)
}

// EvidenceNames returns the names of all evidence, in order.
func (h *Home) EvidenceNames() ([]string, error) { return h.names(evidenceDir, "") }

// Evidence returns what was kept under a name, or ErrNotFound.
func (h *Home) Evidence(name string) ([]byte, error) {
	path, err := sealedPath(evidenceDir, "", name)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(h.path(path))
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("%w: the evidence %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("home: read %s: %w", path, err)
	}
	return b, nil
}

// Salvage cuts each growing file of a home that does not open after its last
// intact frame, keeps the damaged file as evidence, and returns what it found.
// What is cut off comes back from the server and the other devices. Files that
// do not grow, and growing ones that do not even start as they must, are beyond
// it.
func Salvage(dir string) ([]*DamageError, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.Close() }()
	h := &Home{dir: dir, readOnly: true, tolerant: true}
	defer func() { _ = h.Close() }()
	if err := h.load(); err != nil {
		return nil, err
	}
	for _, l := range []*log{h.entries, h.shares, h.acts, h.lost} {
		i := slices.IndexFunc(h.damage, func(d *DamageError) bool { return l != nil && d.File == l.name && d.Offset > 0 })
		if i < 0 {
			continue
		}
		if err := h.keepCopy(l.name, fmt.Sprintf("damaged-%s-%d", filepath.Base(l.name), l.end)); err != nil {
			return nil, err
		}
		if err := truncateFile(l.path, l.end); err != nil {
			return nil, err
		}
	}
	return h.damage, nil
}

func truncateFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return writeError(err)
	}
	defer func() { _ = f.Close() }()
	l := &log{path: path, name: filepath.Base(path), file: f, end: size}
	return l.truncate()
}
