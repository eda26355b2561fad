package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"zeropass.dev/zeropass/canonical"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
)

var marshal = canonical.Marshal

// A history is a line of steps, each an entry with valid signatures by everybody
// who can give one:
//
//	G            Genesis
//	E            EpochPrepared, 2 of 3, 72 hours; E:3of5+sheet~24h spells it out
//	B1 B1=ann    ContactBound: member 1 of the epoch being built to a contact; B1=paper
//	R1 RS RH     ShareReceipt of member 1, the server, the sheet
//	C            EpochCommitted of the epoch being built
//	D            DeviceAdded
//	L2 U2 X2     DeviceLocked, DeviceUnlocked, DeviceRevoked
//	N2           DeviceRenamed
//	P:a          SlotPut of slot a's next version, in every epoch it belongs in
//	P:a@1        the same in epoch 1 alone
//	T            SlotPuts of all live slots in the prepared epoch
//	W:a          SlotDeleted
//	Y:20         PolicyChanged to 20 an hour
//	S            ServerKeyChanged
//	V:r          RecoveryVetoed of request r
//	Q:r/12       Recovered by request r, approved by members 1 and 2; H is the sheet
//
// and between entries
//
//	@2           device 2 is the author from here on
//	+72h         time passes
//
// A step that ends in !rule is to be refused by that rule. Several steps in one
// entry are joined by &.
func history(w *world, line string) {
	w.t.Helper()
	for _, step := range strings.Fields(line) {
		if err := w.step(step); err != nil {
			w.t.Fatalf("%s: step %s: %v", line, step, err)
		}
	}
}

func play(t testing.TB, line string) *world {
	t.Helper()
	w := newWorld(t, 1)
	history(w, line)
	return w
}

// recoverable is the shortest history of an account that can be recovered.
const recoverable = "G E B1 B2 B3 R1 R2 R3 RS C "

func (w *world) step(step string) error {
	if author, ok := strings.CutPrefix(step, "@"); ok {
		w.author = number(author)
		return nil
	}
	if period, ok := strings.CutPrefix(step, "+"); ok {
		d, err := time.ParseDuration(period)
		w.now = w.now.Add(d)
		return err
	}
	step, rule, refused := strings.Cut(step, "!")
	err := w.entry(step)
	if !refused {
		return err
	}
	if !errors.Is(err, &RuleError{Rule: Rule(rule)}) {
		return fmt.Errorf("refused by %v, not by %s", err, rule)
	}
	return nil
}

func (w *world) entry(step string) error {
	if rest, ok := strings.CutPrefix(step, "Q:"); ok {
		name, approvers, _ := strings.Cut(rest, "/")
		var holders []*recordv1.Holder
		for _, a := range approvers {
			if a == 'H' {
				holders = append(holders, sheetHolder)
			} else {
				holders = append(holders, member(uint64(a-'0')))
			}
		}
		r := w.request(name)
		d := w.recovered(w.statement(r, holders...))
		if err := w.apply(d); err != nil {
			return err
		}
		w.author = d.author
		return nil
	}
	var kinds []proto.Message
	changed := w.server
	for _, part := range strings.Split(step, "&") {
		if part == "S" {
			var record *recordv1.ServerKeyChanged
			record, changed = w.serverKeyChanged()
			kinds = append(kinds, record)
			continue
		}
		kinds = append(kinds, w.kinds(part)...)
	}
	if len(kinds) == 0 {
		return nil
	}
	d := w.draft(kinds...)
	if step == "G" {
		d.key = w.devices[1].sign
	}
	err := w.apply(d)
	if err == nil && w.server != changed {
		w.server = changed
		clear(w.requests) // they name the server that was
	}
	return err
}

// kinds returns the records of a step.
func (w *world) kinds(step string) []proto.Message {
	rest := step[1:]
	switch step[0] {
	case 'G':
		return list(w.genesis())
	case 'E':
		return list(w.epochPrepared(parseSpec(rest)))
	case 'B':
		n, name, ok := strings.Cut(rest, "=")
		if !ok {
			name = "contact " + n
		}
		return list(w.contactBound(number(n), name))
	case 'R':
		switch rest {
		case "S":
			return list(w.receipt(serverHolder))
		case "H":
			return list(w.receipt(sheetHolder))
		}
		return list(w.receipt(member(number(rest))))
	case 'C':
		return list(&recordv1.EpochCommitted{Epoch: w.openEpoch()})
	case 'D':
		return list(w.deviceAdded())
	case 'L':
		return list(&recordv1.DeviceLocked{Device: number(rest)})
	case 'U':
		return list(w.deviceUnlocked(number(rest)))
	case 'X':
		return list(w.deviceRevoked(number(rest)))
	case 'N':
		return list(w.deviceRenamed(number(rest)))
	case 'P':
		name, epoch, one := strings.Cut(rest[1:], "@")
		puts := w.slotPuts(name)
		if one {
			return slices.DeleteFunc(puts, func(p proto.Message) bool { return p.(*recordv1.SlotPut).Epoch != number(epoch) })
		}
		return puts
	case 'T':
		return w.stage()
	case 'W':
		id := w.slot(rest[1:])
		return list(&recordv1.SlotDeleted{Slot: id[:]})
	case 'Y':
		return list(&recordv1.PolicyChanged{Policy: &recordv1.Policy{RevealsPerHour: number(rest[1:]), RevealsPerDay: 50}})
	case 'V':
		id := w.request(rest[1:]).request.ID()
		return list(&recordv1.RecoveryVetoed{Request: id[:]})
	}
	panic("no such step: " + step)
}

func list(m proto.Message) []proto.Message { return []proto.Message{m} }

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// parseSpec reads ":3of5+sheet~24h", every part of which may be missing.
func parseSpec(s string) epochSpec {
	spec := usual
	s, waiting, ok := strings.Cut(s, "~")
	if ok {
		d, err := time.ParseDuration(waiting)
		if err != nil {
			panic(err)
		}
		spec.waiting = d
	}
	s, spec.sheet = strings.CutSuffix(s, "+sheet")
	if s, ok := strings.CutPrefix(s, ":"); ok && s != "" {
		k, n, _ := strings.Cut(s, "of")
		spec.quorum, spec.members = number(k), number(n)
	}
	return spec
}
