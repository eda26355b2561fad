package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/device"
)

func requestCommand(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "request",
		Short: "Help somebody to recover, or refuse",
		Long: `A recovery request comes from a new device that wants to bring an account back:
one whose share you keep, or your own.

` + device.SpeakFirst,
	}, requestListCommand(a), approveCommand(a), denyCommand(a))
}

func requestListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List recovery requests",
		Args:  takesNothing,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				requests, err := d.Requests(cmd.Context())
				if err != nil {
					return err
				}
				return a.show(requestsJSON(requests), func() { a.showRequests(requests) })
			})
		}),
	}
}

type requestView struct {
	ID        string     `json:"id"`
	Account   string     `json:"account"`
	Owner     string     `json:"owner"`
	Own       bool       `json:"own"`
	Phrase    string     `json:"phrase"`
	Started   *time.Time `json:"started,omitempty"`
	Ends      *time.Time `json:"ends,omitempty"`
	Due       *time.Time `json:"due,omitempty"`
	Approvals int        `json:"approvals"`
	Quorum    int        `json:"quorum"`
	Sheet     bool       `json:"sheet_approved"`
	Vetoes    int        `json:"vetoes"`
	Decision  string     `json:"decision"`
	Released  bool       `json:"released"`
	Over      bool       `json:"over"`
	Cannot    string     `json:"cannot,omitempty"`
}

func requestJSON(r device.RecoveryRequest) requestView {
	return requestView{
		ID: r.ID.String(), Account: r.Account.String(), Owner: r.Owner, Own: r.Own, Phrase: r.Phrase,
		Started: jsonTime(r.Started), Ends: jsonTime(r.Ends), Due: jsonTime(r.Due),
		Approvals: r.Approvals, Quorum: r.Quorum, Sheet: r.Sheet, Vetoes: len(r.Vetoes), Decision: string(r.Decision),
		Released: r.Released, Over: r.Over, Cannot: r.Cannot,
	}
}

func requestsJSON(requests []device.RecoveryRequest) []requestView {
	views := make([]requestView, 0, len(requests))
	for _, r := range requests {
		views = append(views, requestJSON(r))
	}
	return views
}

func (a *app) showRequests(requests []device.RecoveryRequest) {
	if len(requests) == 0 {
		a.say("Nobody asks for a recovery.")
		return
	}
	speak := false
	for i, r := range requests {
		if i > 0 {
			a.say("")
		}
		a.showRequest(r)
		speak = speak || !r.Own && !r.Over && r.Decision == device.Undecided
	}
	if speak {
		a.say("")
		a.paragraph(device.SpeakFirst)
	}
}

// showRequest says what is asked, and what can be done about it.
func (a *app) showRequest(r device.RecoveryRequest) {
	now := time.Now()
	id := r.ID.String()[:8]
	whose := "the account of " + oneLine(r.Owner)
	if r.Own {
		whose = "YOUR OWN account"
	}
	a.say("%s: a new device wants to recover %s.", id, whose)
	a.say("  its eight words   %s", r.Phrase)
	a.say("  asked             %s", ago(now, r.Started))
	a.say("  approvals         %d of %d", r.Approvals, r.Quorum)
	if r.Sheet {
		a.say("                    and the printed sheet, which is enough: whoever asks has read it")
	}
	if len(r.Vetoes) > 0 {
		a.say("  vetoed            %s, by a device of the account", times(len(r.Vetoes)))
	}
	switch {
	case r.Over:
		a.say("  It is over.")
	case r.Released:
		a.say("  The server has released its share: the new device has everything it needs.")
	case r.Ends.After(now):
		a.say("  waiting period    until %s", when(r.Ends))
	}
	if r.Over {
		return
	}
	switch {
	case r.Own:
		a.say("  If this is not you: zeropass veto %s", id)
	case r.Cannot != "":
		a.say("  You cannot approve it here: %s.", strings.TrimSuffix(r.Cannot, "."))
	case r.Decision == device.Undecided && r.Voided:
		a.say("  You approved it, and it was vetoed since. Speak with %s again.", oneLine(r.Owner))
	case r.Decision == device.Undecided:
		a.say("  To help: zeropass request approve %s     To refuse: zeropass request deny %s", id, id)
	case r.Decision == device.Approved:
		a.say("  You approved it. Your share leaves at your first sync after %s.", when(r.Due))
		a.say("  To take it back until then: zeropass request deny %s", id)
	case r.Decision == device.Sent:
		a.say("  You approved it, and your share has left.")
	case r.Decision == device.Denied:
		a.say("  You refused.")
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func approveCommand(a *app) *cobra.Command {
	var phrase string
	var wait bool
	c := &cobra.Command{
		Use:   "approve [REQUEST]",
		Short: "Approve a recovery, after speaking with the person",
		Long: device.SpeakFirst + `

On the terminal the words are shown and you say whether they match. Elsewhere the
words that the person read out are given with --phrase.

Your approval and your share leave when the account's waiting period, counted from
when this device first saw the request, is over: at your first sync after it, or
at once then with --wait. Until then "zeropass request deny" takes it back.`,
		Example: "zeropass request approve\nzeropass request approve 3fa1 --wait",
		Args:    optional("REQUEST"),
	}
	c.Flags().StringVar(&phrase, "phrase", "", "the eight words that the person read out from the new device")
	c.Flags().BoolVar(&wait, "wait", false, "wait until the approval has left")
	c.RunE = a.run(func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		options := device.ApproveOptions{Request: strings.Join(args, ""), Phrase: phrase, Wait: wait}
		if phrase == "" {
			if !a.interactive() {
				return usage("Give the words that the person read out with --phrase.", "the eight words must be compared, and there is no terminal to ask on")
			}
			options.Compare = func(r device.RecoveryRequest) (bool, error) { return a.compareRequest(ctx, r) }
		}
		return a.with(ctx, func(d *device.Device) error {
			r, err := d.Approve(ctx, options)
			if err != nil {
				return err
			}
			v := struct {
				Request requestView `json:"request"`
				Sent    bool        `json:"sent"`
				Due     *time.Time  `json:"due,omitempty"`
			}{requestJSON(r.Request), r.Sent, jsonTime(r.Due)}
			return a.show(v, func() {
				owner := oneLine(r.Request.Owner)
				if r.Sent {
					a.say("Your approval and your share for %s have left, sealed to the new device.", owner)
					return
				}
				a.say("You approved the recovery of %s. Nothing has left yet.", owner)
				a.next(
					"zeropass sync, after "+when(r.Due)+": then your share leaves",
					"zeropass request deny "+r.Request.ID.String()[:8]+", to take it back until then",
				)
			})
		})
	})
	return c
}

func (a *app) compareRequest(ctx context.Context, r device.RecoveryRequest) (bool, error) {
	for _, line := range wrap(device.SpeakFirst, 78) {
		a.tell("%s", line)
	}
	a.tell("")
	a.tell("A new device asks to recover the account of %s. Its eight words:", oneLine(r.Owner))
	a.tell("")
	a.tell("  %s", r.Phrase)
	a.tell("")
	return a.askYes(ctx, "Have you spoken with "+oneLine(r.Owner)+", and did they read these words to you?")
}

func denyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "deny [REQUEST]",
		Short: "Refuse a recovery, or take an approval back",
		Long:  "Refuse a recovery request on this device. Nothing leaves it, until you approve after all.",
		Args:  optional("REQUEST"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				if err := d.Deny(cmd.Context(), strings.Join(args, "")); err != nil {
					return err
				}
				return a.show(map[string]bool{"denied": true}, func() { a.say("Refused. Nothing leaves this device for that request.") })
			})
		}),
	}
}

func vetoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "veto [REQUEST]",
		Short: "Stop a stranger's recovery of your account",
		Long: `Veto a request to recover your own account, because it is not yours. All approvals
so far are void, the waiting period starts again, and your contacts are told; only
if a quorum of them approves once more, knowing of the veto, does it go on. So call
your contacts too.

It takes the ids that "zeropass request list" shows, and none is needed when there
is one request alone.`,
		Example: "zeropass veto\nzeropass veto 3fa1",
		Args:    optional("REQUEST"),
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(d *device.Device) error {
				if err := d.Veto(cmd.Context(), strings.Join(args, "")); err != nil {
					return err
				}
				return a.show(map[string]bool{"vetoed": true}, func() {
					a.say("Vetoed. The approvals so far are void, and the waiting period starts again.")
					a.next("call your contacts and tell them that this is not you", "change the passphrases if somebody may know them: zeropass passphrase change")
				})
			})
		}),
	}
}

// optional allows one argument or none.
func optional(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage(seeHelp(c), "%s takes one %s, not %d", c.CommandPath(), what, len(args))
		}
		return nil
	}
}

// paragraph prints text in lines of a width that is easy to read.
func (a *app) paragraph(text string) {
	for _, line := range wrap(text, 78) {
		a.say("%s", line)
	}
}

// wrap breaks text at spaces into lines of at most width characters.
func wrap(text string, width int) []string {
	var all []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			all = append(all, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		all = append(all, line)
	}
	return all
}
