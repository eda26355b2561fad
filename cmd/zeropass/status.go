package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether everything can be recovered",
		Long: `Say in plain words whether everything can be recovered, what is missing, which
losses are survived, and when each copy of the ledger and each share was last
proved. It does not ask the server: run zeropass sync for the newest proofs.

It ends with 0 only when the account is recoverable, and with 7 otherwise, so that
a script can watch over it.`,
		Example: "zeropass status\nzeropass status --json",
		Args:    takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			recoverable := false
			err := a.with(cmd.Context(), func(d *device.Device) error {
				s, err := d.Status(cmd.Context())
				if err != nil {
					return err
				}
				recoverable = s.Recoverable
				return a.show(statusJSON(s), func() { a.showStatus(s) })
			})
			if err == nil && !recoverable {
				return answered(exitNotYet)
			}
			return err
		}),
	}
}

type proofView struct {
	Kind    string     `json:"kind"`
	Number  uint64     `json:"number,omitempty"`
	Name    string     `json:"name"`
	Epoch   uint64     `json:"epoch,omitempty"`
	Proved  bool       `json:"proved"`
	At      *time.Time `json:"at,omitempty"`
	Head    uint64     `json:"sequence,omitempty"`
	Current bool       `json:"current"`
	Stale   bool       `json:"stale"`
	Fork    bool       `json:"fork,omitempty"`
	Receipt bool       `json:"by_receipt_only,omitempty"`
	Lags    int        `json:"lags,omitempty"`
	Since   *time.Time `json:"lags_since,omitempty"`
}

func proofsJSON(proofs []device.Proof) []proofView {
	views := make([]proofView, 0, len(proofs))
	for _, p := range proofs {
		views = append(views, proofView{p.Kind, p.Number, p.Name, p.Epoch, p.Has, jsonTime(p.At), p.Head, p.Current, p.Stale, p.Fork, p.Receipt, p.Lags, jsonTime(p.Since)})
	}
	return views
}

type nextEpochView struct {
	Epoch    uint64     `json:"epoch"`
	Quorum   int        `json:"quorum"`
	Receipts int        `json:"shares_proved"`
	From     *time.Time `json:"commits_from,omitempty"`
	Missing  []string   `json:"missing"`
}

type statusView struct {
	Recoverable   bool           `json:"recoverable"`
	Verdict       string         `json:"verdict"`
	Account       string         `json:"account"`
	Name          string         `json:"name"`
	Device        uint64         `json:"device"`
	Devices       int            `json:"devices"`
	Server        string         `json:"server"`
	ServerMoved   *moveView      `json:"server_moved,omitempty"`
	Sequence      uint64         `json:"sequence"`
	Head          string         `json:"head"`
	Slots         int            `json:"slots"`
	Unsent        int            `json:"unsent"`
	Epoch         uint64         `json:"epoch"`
	Committed     bool           `json:"committed"`
	Quorum        int            `json:"quorum"`
	Contacts      int            `json:"contacts"`
	Receipts      int            `json:"shares_proved"`
	WaitingPeriod int64          `json:"waiting_period_seconds"`
	Next          *nextEpochView `json:"next_epoch,omitempty"`
	Missing       []string       `json:"missing"`
	Survives      []string       `json:"survives"`
	Fatal         []string       `json:"fatal"`
	Warnings      []string       `json:"warnings"`
	Copies        []proofView    `json:"copies"`
	Shares        []proofView    `json:"shares"`
	NotBackedUp   []entryView    `json:"not_backed_up"`
	Fork          bool           `json:"fork"`
	Branches      bool           `json:"activity_branches"`
	Revoked       bool           `json:"revoked"`
}

func statusJSON(s *device.Status) statusView {
	some := func(list []string) []string { return append([]string{}, list...) }
	v := statusView{
		Recoverable: s.Recoverable, Verdict: s.Verdict, Account: s.Account.String(), Name: s.Name, Device: s.Device, Devices: s.Devices,
		Server: s.Server, ServerMoved: moveJSON(s.ServerMoved), Sequence: s.Head.Sequence, Head: s.Head.Hash.String(), Slots: s.Slots, Unsent: s.Unsent,
		Epoch: s.Epoch, Committed: s.Committed, Quorum: s.Quorum, Contacts: s.Members, Receipts: s.Receipts,
		WaitingPeriod: int64(s.WaitingPeriod / time.Second),
		Missing:       some(s.Missing), Survives: some(s.Survives), Fatal: some(s.Fatal), Warnings: some(s.Warnings),
		Copies: proofsJSON(s.Copies), Shares: proofsJSON(s.Shares), NotBackedUp: []entryView{}, Fork: s.Fork, Branches: s.ActivityBranches,
		Revoked: s.Revoked,
	}
	if n := s.Next; n != nil {
		v.Next = &nextEpochView{n.Epoch, n.Quorum, n.Receipts, jsonTime(n.CommitFrom), some(n.Missing)}
	}
	for i := range s.NotBackedUp {
		v.NotBackedUp = append(v.NotBackedUp, entryJSON(&s.NotBackedUp[i]))
	}
	return v
}

func (a *app) showStatus(s *device.Status) {
	a.say("%s", sentence(oneLine(s.Verdict)))
	a.section("What is missing", s.Missing)
	a.section("It survives", s.Survives)
	a.section("It does not survive", s.Fatal)
	a.section("Look at this", s.Warnings)

	now := time.Now()
	a.say("")
	a.say("Account %s (%s), epoch %d, %s, at %s", oneLine(s.Name), s.Account.String()[:8], s.Epoch, count(s.Slots, "secret"), oneLine(s.Server))
	if s.ServerMoved != nil {
		a.say("The server has moved. %s", movedText(s.ServerMoved))
	}
	a.say("%d of %s bring everything back, after %s.", s.Quorum, count(s.Members, "contact"), duration(s.WaitingPeriod))
	a.say("")
	rows := [][]string{{"WHO", "HOLDS", "LAST PROVED"}}
	for _, p := range s.Copies {
		rows = append(rows, []string{oneLine(p.Name), "a copy of the ledger", proofText(now, p)})
	}
	for _, p := range s.Shares {
		holds := "a share"
		if s.Next != nil {
			holds = fmt.Sprintf("a share of epoch %d", p.Epoch)
		}
		rows = append(rows, []string{oneLine(p.Name), holds, proofText(now, p)})
	}
	table(a.out, a.width(), rows)
}

// section prints a heading and its points, nothing where there are none.
func (a *app) section(heading string, points []string) {
	if len(points) == 0 {
		return
	}
	a.say("")
	a.say("%s:", heading)
	for _, point := range points {
		for i, line := range wrap(oneLine(point), 76) {
			if i == 0 {
				a.say("  - %s", line)
			} else {
				a.say("    %s", line)
			}
		}
	}
}

// proofText says when somebody proved what they hold, and how it lies to this
// device's copy.
func proofText(now time.Time, p device.Proof) string {
	text := ago(now, p.At)
	switch {
	case p.Fork:
		return "ANOTHER HISTORY, see above"
	case !p.Has:
		text = "never"
	case p.Receipt:
		text += ", by its receipt"
	case p.Lags > 0 && p.Kind == "contact":
		text += fmt.Sprintf(", at entry %d", p.Head)
	case p.Lags > 0:
		text += fmt.Sprintf(", lags by %s since %s", count(p.Lags, "entry"), p.Since.Local().Format(time.DateOnly))
	case p.Head > 0:
		text += fmt.Sprintf(", entry %d", p.Head)
	}
	if p.Stale {
		text += ": not recently proved"
	}
	return text
}
