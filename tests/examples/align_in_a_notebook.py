# %% [markdown]
# # Align a policy in a notebook
#
# One cycle of the demo takes some minutes on two cores. Bars are drawn where ipywidgets is installed
# (`pip install 'salus[notebook]'`); without it, a line tells how far it is now and then.

# %%
import pyarrow.parquet as pq

from pipelines import align, load_recipe, read_summary

# %% tags=["parameters"]
RECIPE = "demo"
CHANGES = ["cycles=1"]
RUN = "runs/notebook"

# %%
recipe = load_recipe(RECIPE, CHANGES)
summary = align(recipe, RUN)

# %% [markdown]
# The summary is typed: an editor completes its fields. Each figure has its 95 % interval.

# %%
for cycle in summary.cycles:
    print(f"cycle {cycle.cycle}: {cycle.decision}. {cycle.why}")
before, after = summary.test.base.ss, summary.test.champion.ss
if before is not None and after is not None:
    print(
        f"Safety Score on the test split: {before.value:.3f} before, {after.value:.3f} after ({after.low}-{after.high})"
    )

# %% [markdown]
# Every figure of the run is one row of `metrics.parquet`.

# %%
metrics = pq.read_table(f"{RUN}/metrics.parquet").to_pandas()
print(metrics[metrics["group"] == "all"][["split", "policy_version", "metric", "value"]].to_string())

# %% [markdown]
# A later session reads the run again. The call of `align` above, made again, goes on where an interrupted run stopped.

# %%
assert read_summary(RUN) == summary
