package ledger

import (
	"runtime"
	"sync"
	"sync/atomic"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// proof names a signature of a context by a key. That it is in State.proved
// says only that the signature is valid; whether this key had to sign is
// decided by the rules, one entry after the other.
type proof struct {
	key       [signing.PublicKeySize]byte
	context   Hash
	signature [signing.SignatureSize]byte
}

func proofOf(key *signing.PublicKey, c *signing.Context, signature []byte) proof {
	return proof{[signing.PublicKeySize]byte(key.Bytes()), hashOf(c), [signing.SignatureSize]byte(signature)}
}

// verify is [signing.PublicKey.Verify] for every signature that the rules want in an
// entry, and knows what prove has done and what Replay knows.
func (s *State) verify(key *signing.PublicKey, context func() *signing.Context, signature []byte) bool {
	if s.replaying {
		return true
	}
	c := context()
	if s.proved != nil && s.proved[proofOf(key, c, signature)] {
		return true
	}
	return key.Verify(c, signature)
}

// job is a signature that the rules will probably ask for.
type job struct {
	key       *signing.PublicKey
	context   func() *signing.Context
	signature []byte
}

// prove verifies the signatures of many entries on all cores and returns the
// valid ones. It guesses whose keys they need from what the entries say; a
// wrong guess costs time and nothing else.
func prove(s *State, entries []*Entry) map[proof]bool {
	workers := runtime.GOMAXPROCS(0)
	if workers < 2 || len(entries) < 2 {
		return nil
	}
	jobs := s.jobs(entries)
	proofs := make([]proof, len(jobs))
	valid := make([]bool, len(jobs))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
				c := jobs[i].context()
				proofs[i] = proofOf(jobs[i].key, c, jobs[i].signature)
				valid[i] = jobs[i].key.Verify(c, jobs[i].signature)
			}
		})
	}
	wg.Wait()
	proved := make(map[proof]bool, len(jobs))
	for i, ok := range valid {
		if ok {
			proved[proofs[i]] = true
		}
	}
	return proved
}

// jobs lists the authors' and endorsers' signatures of entries whose devices are
// in the state or in the entries.
func (s *State) jobs(entries []*Entry) []job {
	sign, confirm := map[uint64]*signing.PublicKey{}, map[uint64]*signing.PublicKey{}
	for number, d := range s.devices {
		sign[number], confirm[number] = d.SignKey, d.ConfirmKey
	}
	var jobs []job
	for _, e := range entries {
		account, _ := e.Account()
		e.eachNewDevice(func(number uint64, keys *recordv1.DeviceKeys) {
			// Errors cannot be: ParseEntry made these keys before.
			sign[number], _ = signing.NewPublicKey(keys.SignKey)
			confirm[number], _ = signing.NewPublicKey(keys.ConfirmKey)
		})
		if key := sign[e.Author()]; key != nil {
			jobs = append(jobs, job{key, e.context, e.signature})
		}
		for _, endorsement := range e.Proposal().GetEndorsements() {
			key := sign[endorsement.Device]
			if endorsement.Role == recordv1.Endorsement_ROLE_CONFIRM {
				key = confirm[endorsement.Device]
			}
			if key == nil {
				continue
			}
			jobs = append(jobs, job{key, func() *signing.Context {
				return ProposalContext(account, e.message.Proposal, e.Author(), e.message.Records, endorsement.Role, endorsement.Device)
			}, endorsement.Signature})
		}
	}
	return jobs
}

// eachNewDevice calls f with the keys of devices that the entry adds.
func (e *Entry) eachNewDevice(f func(number uint64, keys *recordv1.DeviceKeys)) {
	for _, record := range e.records {
		if g := record.GetGenesis(); g != nil {
			f(1, g.Device)
		}
		if d := record.GetDeviceAdded(); d != nil {
			f(d.Device, d.Keys)
		}
	}
	if e.recovered != nil {
		f(e.recovered.statement.Device, e.recovered.statement.Keys)
	}
}
