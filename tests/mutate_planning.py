"""Break the planner in many ways, one at a time, and see that the tests notice each.

    python -m tests.mutate_planning [words of a name]

Works on a copy of the repository. Ends with an error if a mutant survives, or if the code that it
changes is no longer there.
"""

from tests.mutation import ROOT, Mutant, main

# Most of a minute each on one core, for what the others notice sooner.
SLOW = ("no_memory_is_allocated", "number_of_streamed_items")
# What takes longest last.
LATE = {"test_command": 1, "test_budget": 2, "test_plan": 3, "test_estimate": 4}
FILES = sorted(
    (ROOT / "tests/sgs/planning").glob("test_*.py"), key=lambda file: LATE.get(file.stem, 0)
)

MUTANTS = {
    "ignore the margin of a plan": Mutant(
        "sgs/planning/settings/search.py",
        "limit=int((1 - margin) * bytes_of(budget))",
        "limit=bytes_of(budget)",
    ),
    "accept too small a budget": Mutant(
        "sgs/planning/settings/search.py", "        if not search.fits(least):", "        if False:"
    ),
    "plan calls of any size": Mutant(
        "sgs/planning/settings/search.py", "max(flops, 1), LARGEST, self", "max(flops, 1), self"
    ),
    "plan calls of more items than are sampled": Mutant(
        "sgs/planning/settings/search.py", "LARGEST, self.num_sampled)", "LARGEST)"
    ),
    "plan calls that do not fit": Mutant(
        "sgs/planning/settings/search.py",
        "while size > 1 and not self.fits(self(size, size, 0)):",
        "while False:",
    ),
    "let guided strategies take more items in the first pass": Mutant(
        "sgs/planning/settings/search.py",
        "        if self.is_guided:\n            # Such",
        "        if False:\n            # Such",
    ),
    "keep graphs for guided strategies": Mutant(
        "sgs/planning/settings/search.py", "0 if self.is_guided else math.ceil", "math.ceil"
    ),
    "let the first pass take memory of its own": Mutant(
        "sgs/planning/settings/search.py", " and self(size, 2 * found, 0).peak_bytes <= least", ""
    ),
    "keep more graphs than are trained": Mutant(
        "sgs/planning/settings/search.py",
        "math.ceil(self.num_sampled / size)",
        "math.ceil(self.smallest.num_items / size)",
    ),
    "extrapolate growth once too often": Mutant(
        "sgs/planning/settings/search.py", "times=fitting - kept)", "times=fitting - kept + 1)"
    ),
    "keep one graph more than fits": Mutant(
        "sgs/planning/settings/search.py", ") // growth))", ") // growth + 1))"
    ),
    "choose among sizes by noise": Mutant(
        "sgs/planning/settings/trials.py", "value * BETTER <= least", "value <= least"
    ),
    "correct without what was predicted": Mutant(
        "sgs/planning/settings/memory_budget.py",
        "peak - self._trials.plan.estimate.peak_bytes",
        "peak",
    ),
    "time the first step": Mutant(
        "sgs/planning/settings/trials.py",
        "not self._is_settled and self._steps > 0",
        "not self._is_settled",
    ),
    "keep what a correction has refuted": Mutant(
        "sgs/planning/settings/trials.py",
        "        self._is_settled = False\n\n    def advance",
        "\n    def advance",
    ),
    "time whole calls": Mutant(
        "sgs/planning/settings/trials.py",
        "(_now_s() - started_s) / max(num_items, 1)",
        "_now_s() - started_s",
    ),
    "time the second pass as if all items were sampled": Mutant(
        "sgs/planning/settings/trials.py",
        "+ ratio * seconds[SECOND_PASS]",
        "+ seconds[SECOND_PASS]",
    ),
    "try sizes that do not fit": Mutant(
        "sgs/planning/settings/trials.py",
        "best == tried[-1] and self._fits(larger) else",
        "best == tried[-1] else",
    ),
    "take the fastest first pass whatever it takes": Mutant(
        "sgs/planning/settings/trials.py",
        "if FIRST_PASS in seconds and search(size, s, 0).peak_bytes <= least",
        "if FIRST_PASS in seconds",
    ),
    "let guided strategies take the fastest first pass": Mutant(
        "sgs/planning/settings/trials.py", "if search.is_guided or not free", "if not free"
    ),
    "hold the first batch": Mutant(
        "sgs/planning/settings/memory_budget.py", "Given.of(args, kwargs)", "Given(args, kwargs)"
    ),
    "try sizes in evaluation": Mutant(
        "sgs/planning/settings/memory_budget.py", "if torch.is_grad_enabled():", "if True:"
    ),
    "keep a plan of fewer items": Mutant(
        "sgs/planning/settings/memory_budget.py",
        "return is_alike and self.num_items >= other.num_items",
        "return is_alike",
    ),
    "keep a plan of items of other shapes": Mutant(
        "sgs/planning/settings/memory_budget.py",
        "is_alike = replace(self, num_items=other.num_items) == other",
        "is_alike = self.sources == other.sources",
    ),
    "leave autocast out of a budget": Mutant(
        "sgs/planning/settings/memory_budget.py", "autocast=_autocast_of(call)", "autocast=None"
    ),
    "keep a plan of weights that did not train": Mutant(
        "sgs/planning/settings/memory_budget.py", "if p.requires_grad)", "if p is not None)"
    ),
    "forget what was not predicted when planning anew": Mutant(
        "sgs/planning/settings/memory_budget.py",
        "min(search.limit, self._total - self._unseen)",
        "search.limit",
    ),
    "let a budget accept shards": Mutant(
        "sgs/planning/settings/memory_budget.py", "            _refuse_shards(sampler)\n", ""
    ),
    "correct again by the same peak": Mutant(
        "sgs/planning/settings/memory_budget.py", "if peak > self._peak and", "if peak and"
    ),
    "leave no margin of a budget": Mutant(
        "sgs/planning/settings/memory_budget.py", "margin=MARGIN)", "margin=0.0)"
    ),
    "plan without the head": Mutant("sgs/planning/settings/planner.py", "        head=head,\n", ""),
    "plan without the optimizer": Mutant(
        "sgs/planning/settings/planner.py", "        optimizer=optimizer,\n", ""
    ),
    "plan all items on the device": Mutant(
        "sgs/planning/settings/planner.py", "        items_on_device=items_on_device,\n", ""
    ),
    "plan without autocast": Mutant(
        "sgs/planning/settings/planner.py", "        autocast=autocast,\n", ""
    ),
    "apply half a plan": Mutant(
        "sgs/planning/settings/plan.py",
        "sampler.forward_micro_batch_size = self.forward_micro_batch_size",
        "sampler.forward_micro_batch_size = self.micro_batch_size",
    ),
    "count items in host memory": Mutant(
        "sgs/planning/estimate/estimation.py",
        "assign(arguments.host, IGNORED)",
        "assign(arguments.host, ITEMS)",
    ),
    "count no blocks of the allocator": Mutant(
        "sgs/planning/estimate/estimation.py", "Rehearsal(block=CUDA_BLOCK)", "Rehearsal(block=1)"
    ),
    "accept an unknown method": Mutant(
        "sgs/planning/estimate/estimation.py", "    if method not in METHODS:", "    if False:"
    ),
    "accept another module than a sampler": Mutant(
        "sgs/planning/estimate/estimation.py",
        "    if not isinstance(sampler, SequentialGradientSampler):",
        "    if False:",
    ),
    "accept shards": Mutant(
        "sgs/planning/estimate/estimation.py", "    if has_shards(sampler):", "    if False:"
    ),
    "estimate inside of the caller's autocast": Mutant(
        "sgs/planning/estimate/estimation.py", "        _outside_autocast(),\n", ""
    ),
    "count no buffers": Mutant(
        "sgs/planning/estimate/estimation.py",
        "[*parameters, *buffers], PARAMETERS",
        "parameters, PARAMETERS",
    ),
    "fit without a margin": Mutant(
        "sgs/planning/estimate/estimated_step.py",
        "(1 - margin) * bytes_of(memory)",
        "bytes_of(memory)",
    ),
    "estimate with the strategy itself": Mutant(
        "sgs/planning/estimate/methods.py",
        "if is_guided else FirstItems()",
        "if is_guided else sampler.sampler",
    ),
    "count a stem's outputs in host memory": Mutant(
        "sgs/planning/estimate/methods.py", "IGNORED if is_host else FEATURES", "FEATURES"
    ),
    "let checkpoints hold no items": Mutant(
        "sgs/planning/estimate/methods.py",
        "        self.rehearsal.held.append(self._part(arguments, slice(sum(left_out))))\n",
        "",
    ),
    "train the last items first": Mutant(
        "sgs/planning/estimate/stand_in_strategies.py",
        "return torch.arange(count)",
        "return torch.arange(candidates.num_items - count, candidates.num_items)",
    ),
    "gather what is spread out": Mutant(
        "sgs/planning/estimate/stand_in_strategies.py",
        "(position % self.micro_batch_size)",
        "position",
    ),
    "let one call stand for all": Mutant(
        "sgs/planning/estimate/rehearsal.py", "REHEARSED = 2", "REHEARSED = 1"
    ),
    "leave out calls that keep their graph": Mutant(
        "sgs/planning/estimate/rehearsal.py",
        "            self._met.clear()\n",
        "            pass\n",
    ),
    "add up the peaks of different moments": Mutant(
        "sgs/planning/estimate/live_bytes.py",
        "self.peak = +self.current",
        "self.peak |= self.current",
    ),
    "count views as new memory": Mutant(
        "sgs/planning/estimate/live_bytes.py",
        "                self._add_all(pytree.tree_leaves((args, kwargs)), IGNORED)\n",
        "                pass\n",
    ),
    "count what sources fetch at once": Mutant(
        "sgs/planning/estimate/fake_arguments.py",
        "host = _tensors(fetched) + ([] if items_on_device else plain)",
        "host = [] if items_on_device else plain",
    ),
    "forget which items need a gradient": Mutant(
        "sgs/planning/estimate/fake_arguments.py",
        'leaf.detach().to("meta").requires_grad_(leaf.requires_grad)',
        'leaf.detach().to("meta")',
    ),
    "draw for attention without dropout": Mutant(
        "sgs/planning/estimate/fake_tensors.py",
        'if on_cpu and given.get("dropout_p") != 0.0:',
        "if on_cpu:",
    ),
    "copy generators without their state": Mutant(
        "sgs/planning/estimate/fake_tensors.py", "tensor.numel() in GENERATOR_STATES", "False"
    ),
    "leave the optimizer's state out": Mutant(
        "sgs/planning/estimate/training_step.py",
        "peak + Counter({OPTIMIZER: memory.current[OPTIMIZER]})",
        "peak + Counter()",
    ),
    "accept a loss without a gradient": Mutant(
        "sgs/planning/estimate/training_step.py",
        "loss.numel() == 1 and loss.requires_grad",
        "loss.numel() == 1",
    ),
    "accept any optimizer": Mutant(
        "sgs/planning/estimate/training_step.py",
        "    if not isinstance(optimizer, torch.optim.Optimizer):",
        "    if False:",
    ),
    "count no backward of attention": Mutant(
        "sgs/planning/estimate/flops.py",
        "+= sdpa_backward_flop_count(*(x.shape for x in args[:4]))",
        "+= 0",
    ),
    "write a line without kept graphs": Mutant(
        "sgs/planning/command_line/question.py",
        '{"kept_graphs": kept_graphs} if kept_graphs',
        '{"kept_graphs": 0} if False',
    ),
    "call every refusal a lack of memory": Mutant(
        "sgs/planning/command_line/answer.py",
        "        if least.fits(question.budget):\n            raise\n",
        "",
    ),
    "call every step one that fits": Mutant(
        "sgs/planning/command_line/command.py",
        "DOES_NOT_FIT if found.found is None else FITS",
        "FITS",
    ),
    "accept a ratio of zero": Mutant(
        "sgs/planning/command_line/command.py",
        "if not 0 < _number(text) <= 1:",
        "if not 0 <= _number(text) <= 1:",
    ),
    "accept endless speed": Mutant(
        "sgs/planning/command_line/command.py", "0 < _number(text) < math.inf", "0 < _number(text)"
    ),
    "accept a file that is not there": Mutant(
        "sgs/planning/command_line/named_module.py", "    if not path.is_file():", "    if False:"
    ),
    "disguise modules that a named one misses": Mutant(
        "sgs/planning/command_line/named_module.py",
        'if error.name is None or not f"{name}.".startswith(f"{error.name}."):',
        "if False:",
    ),
    "accept what is not callable": Mutant(
        "sgs/planning/command_line/named_module.py", "    if not callable(found):", "    if False:"
    ),
    "build in memory": Mutant(
        "sgs/planning/command_line/named_module.py",
        'with torch.device("meta"):',
        'with torch.device("cpu"):',
    ),
    "take decimal units for binary ones": Mutant(
        "sgs/planning/byte_size.py", "1000**power for power, unit", "1024**power for power, unit"
    ),
    "write 1024 KiB for 1 MiB": Mutant(
        "sgs/planning/byte_size.py",
        "int(math.log2(size)) // 10",
        "int(math.log2(size) - 1e-9) // 10",
    ),
}

if __name__ == "__main__":
    files = (str(file.relative_to(ROOT)) for file in FILES)
    main(MUTANTS, [*files, "-k", " and ".join(f"not {words}" for words in SLOW)])
