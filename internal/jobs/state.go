package jobs

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pec-operator/pec-operator/internal/jobs/worker"
)

// State is how far a Job is.
type State struct {
	// Over says that no pod of it runs or will run.
	Over bool
	// Results are the last words about each index, of those that have any. An index that succeeded has no Reason.
	Results map[int]worker.Result
	// Succeeded and Failed are the indexes that are settled.
	Succeeded, Failed []int
	// Problem is why the whole Job failed, "" if it did not.
	Problem string
}

// StateOf reads a Job and its pods. Index numbers help nobody: who lists the mailboxes turns them into addresses. Pure.
func StateOf(job *batchv1.Job, pods []corev1.Pod) State {
	s := State{Results: map[int]worker.Result{}, Succeeded: indexes(job.Status.CompletedIndexes)}
	if job.Status.FailedIndexes != nil {
		s.Failed = indexes(*job.Status.FailedIndexes)
	}
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			s.Over = true
		case batchv1.JobFailed:
			s.Over = true
			if c.Reason != batchv1.JobReasonFailedIndexes {
				s.Problem = c.Reason + ": " + c.Message
			}
		}
	}
	newest := map[int]*corev1.Pod{}
	for i := range pods {
		pod := &pods[i]
		index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
		if err != nil || pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			continue
		}
		if old := newest[index]; old == nil || old.CreationTimestamp.Before(&pod.CreationTimestamp) {
			newest[index] = pod
		}
	}
	for index, pod := range newest {
		s.Results[index] = lastWords(index, pod)
	}
	for _, index := range s.Failed {
		if _, ok := s.Results[index]; !ok {
			s.Results[index] = worker.Result{Index: index, Reason: "PodLost", Message: "the pod that failed is gone"}
		}
	}
	return s
}

// lastWords is what a pod left, or what Kubernetes says of its end.
func lastWords(index int, pod *corev1.Pod) worker.Result {
	r := worker.Result{Index: index}
	for _, c := range pod.Status.ContainerStatuses {
		end := c.State.Terminated
		if end == nil {
			continue
		}
		if json.Unmarshal([]byte(end.Message), &r) == nil && r.Index == index && (r.Reason == "") == (end.ExitCode == worker.ExitDone) {
			return r
		}
		if end.ExitCode != worker.ExitDone {
			return worker.Result{Index: index, Reason: "PodFailed", Message: fmt.Sprintf("it ended with status %d (%s)", end.ExitCode, end.Reason)}
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		r = worker.Result{Index: index, Reason: "PodFailed", Message: strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)}
	}
	return r
}

// indexes reads a Job's "1,3-5,7".
func indexes(text string) []int {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue // the empty text
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		for i := first; i <= last; i++ {
			all = append(all, i)
		}
	}
	return all
}
